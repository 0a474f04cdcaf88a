//! What a running process tells over HTTP: metrics, and whether it is alive and ready.
//!
//! | GET | answer |
//! |---|---|
//! | `/metrics` | all metrics in Prometheus' text format, by the names in `metrics.rs` |
//! | `/healthz` | 200: the process answers |
//! | `/readyz` | 503 while a pipeline is still starting, then 200; the body says of each pipeline what it is doing |
//! | `/version` | name and version |
//!
//! Invariants
//! - nothing told holds a value of a row, a text of an error, a URI or a secret: names of pipelines, stages, topics,
//!   tables, models and categories alone;
//! - asking changes nothing, and costs the data path no lock;
//! - connections are bounded in number and time.
//!
//! Deliberately absent: TLS and authentication. Whoever listens beyond loopback has said so by the address.

mod health;
mod metrics;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use tokio::net::TcpListener;

use self::metrics::Metrics;
use crate::error::{Error, Result};
use crate::runner::PipelineProgress;

/// The type of Prometheus' text format.
const TEXT: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

/// An address that is bound, so that a wrong one is found before anything runs; and metrics that are collected from now on.
pub struct Status {
    listener: TcpListener,
    metrics: Metrics,
}

impl Status {
    /// Listens on `address`; port 0 takes a free one. Once a process: metrics are its own.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let refused = |e| Error::Unavailable(format!("{address} cannot be listened on: {e}; choose another address"));
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let status = Status { listener, metrics: Metrics::collect()? };
        let address = status.address().map_err(refused)?;
        tracing::info!(%address, "metrics and health are told on /metrics, /healthz, /readyz and /version");
        Ok(status)
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers about `pipelines` until it is dropped.
    pub async fn serve(self, pipelines: Vec<Arc<PipelineProgress>>) {
        let Status { listener, metrics } = self;
        let (metrics, pipelines) = (Arc::new(metrics), Arc::<[_]>::from(pipelines));
        tokio::join!(metrics.keep_small(), server::answer(listener, routes(metrics.clone(), pipelines)));
    }
}

fn routes(metrics: Arc<Metrics>, pipelines: Arc<[Arc<PipelineProgress>]>) -> Router {
    let observed = pipelines.clone();
    let told = async move || (TEXT, metrics.text(&observed));
    let ready = async move || {
        let (ready, body) = health::ready(&pipelines);
        (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, JSON, body)
    };
    Router::new()
        .route("/metrics", get(told))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/version", get(async || (JSON, health::version())))
}
