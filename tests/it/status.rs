//! What a running process tells over HTTP, asked as a monitoring system asks: over sockets.
//!
//! One test, since a process has one set of metrics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use headwater::Error;
use headwater::runner::Fleet;
use headwater::status::Status;
use tokio_util::sync::CancellationToken;

use crate::runner::{World, prepared, register};

/// The whole answer to a request.
fn ask(address: SocketAddr, verb: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "{verb} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks for metrics until `line` is among them.
fn wait_for(address: SocketAddr, line: &str) -> String {
    let begun = Instant::now();
    loop {
        let metrics = ask(address, "GET", "/metrics");
        if metrics.lines().any(|found| found == line) {
            return metrics;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{line} is not in {metrics}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_tells_metrics_and_health() {
    let outage = (true, Error::Unavailable("away".into()));
    let world = World { messages: 30, endless: true, reject_every: Some(10), ..World::default() };
    register("told", world).faults.lock().unwrap().push(outage);
    let shutdown = CancellationToken::new();
    let (pipeline, options, _dir) = prepared("told", "", shutdown.clone());
    let status = Status::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = status.address().unwrap();
    let taken = Status::bind(address).await.err().expect("an address that is taken is refused");
    assert!(matches!(&taken, Error::Unavailable(why) if why.contains(&address.to_string())), "{taken}");

    let fleet = Fleet::start(vec![pipeline], &options);
    let telling = tokio::spawn(status.serve(fleet.progress()));
    let asked = tokio::task::spawn_blocking(move || {
        let metrics = wait_for(address, r#"headwater_messages_read_total{pipeline="told",topic="t"} 30"#);
        for line in [
            r#"headwater_parked_messages_total{pipeline="told",stage="0:ledger",code="test"} 3"#,
            r#"headwater_lane_restarts_total{pipeline="told"} 1"#,
            r#"headwater_pipeline_state{pipeline="told",state="running"} 1"#,
            r#"headwater_pipeline_state{pipeline="told",state="waiting"} 0"#,
            r##"# TYPE headwater_stage_batch_seconds histogram"##,
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
        }
        let (ready, version) = (ask(address, "GET", "/readyz"), ask(address, "GET", "/version"));
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        assert!(ready.contains(r#"{"pipelines":{"told":{"state":"running"}},"ready":true}"#), "{ready}");
        assert!(version.contains(concat!(r#""version":""#, env!("CARGO_PKG_VERSION"))), "{version}");
        assert!(ask(address, "GET", "/healthz").starts_with("HTTP/1.1 200"));
        assert!(ask(address, "POST", "/metrics").starts_with("HTTP/1.1 405"));
        assert!(ask(address, "GET", "/metrics/../../etc/passwd").starts_with("HTTP/1.1 404"));
        // More connections than are answered at a time, none of which ever asks.
        let silent: Vec<_> = (0..80).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(ask(address, "GET", "/healthz").starts_with("HTTP/1.1 200"));
        drop(silent);
    });
    asked.await.unwrap();
    shutdown.cancel();
    assert_eq!(fleet.finish(true).await.remove(0).progress.restarts, 1);
    telling.abort();
}
