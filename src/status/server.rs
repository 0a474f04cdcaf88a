//! Connections: bounded in number and time, so that nobody who asks slowly takes anything from the pipelines.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// At the same time; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 64;
/// For a request's head.
const HEAD: Duration = Duration::from_secs(5);
/// For a whole connection, however many requests it brings.
const WHOLE: Duration = Duration::from_secs(60);
/// When the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(200);

/// Accepts and answers, for ever.
pub(super) async fn answer(listener: TcpListener, routes: Router) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let routes = routes.clone();
                tokio::spawn(async move {
                    talk(stream, routes).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!("a connection for metrics was refused: {error}");
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }
}

/// What goes wrong with one connection is the asker's to notice.
async fn talk(stream: TcpStream, routes: Router) {
    let service = TowerToHyperService::new(routes);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let _ = tokio::time::timeout(WHOLE, http.serve_connection(TokioIo::new(stream), service)).await;
}
