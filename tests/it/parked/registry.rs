//! A schema registry with a few schemas, as far as the table needs one.

use std::io::{Read, Write};
use std::net::TcpListener;

/// Schemas by id, from 1 on: type and text.
pub const SCHEMAS: &[(&str, &str)] = &[
    (
        "AVRO",
        r#"{"type":"record","name":"E","fields":[{"name":"op","type":"string"},{"name":"source","type":{"type":"record","name":"S","fields":[{"name":"table","type":"string"}]}},{"name":"after","type":["null",{"type":"record","name":"V","fields":[{"name":"id","type":"int"},{"name":"e","type":{"type":"enum","name":"X","symbols":["a"]}}]}]}]}"#,
    ),
    ("AVRO", r#""string""#),
    (
        "PROTOBUF",
        r#"syntax = "proto3"; message E { V after = 2; S source = 3; string op = 4; } message S { string table = 2; } message V { int64 id = 1; }"#,
    ),
    ("THRIFT", "{}"),
    ("AVRO", "{"),
    ("AVRO", r#"{"type":"record","name":"T","fields":[{"name":"b","type":"boolean"}]}"#),
    (
        "AVRO",
        r#"{"type":"record","name":"T","fields":[{"name":"n","type":{"type":"array","items":{"type":"array","items":"null"}}}]}"#,
    ),
];

/// Starts it; its address.
pub fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut part = [0; 1024];
            while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request);
            let path = request.split(' ').nth(1).unwrap_or_default();
            let id: usize = path.trim_start_matches("/schemas/ids/").parse().unwrap_or(0);
            let (status, body) = match id.checked_sub(1).and_then(|at| SCHEMAS.get(at)) {
                Some((kind, text)) => (200, serde_json::json!({ "schemaType": kind, "schema": text }).to_string()),
                None => (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_string()),
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}
