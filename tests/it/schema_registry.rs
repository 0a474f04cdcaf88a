//! Avro, Protobuf and JSON behind a schema registry: whole pipelines against a server that speaks the registry's
//! published REST API, with its refusals and outages. Keys and values are of different converters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headwater::pipeline::{Flow, Problem, Section, load_text};
use headwater::record::{Batch, Epoch, Message};
use headwater::runner::{Fleet, Outcome, RunOptions};
use headwater::stage::{LaneContext, Offsets, Source};
use headwater::stores::{Parked, Stores};
use headwater::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// What the server does with the next request for a path, before it answers.
#[derive(Clone, Copy)]
enum Trouble {
    Status(u16),
    /// Not a registry's answer: a proxy's page.
    Page(u16),
    /// Takes the request and never answers.
    Silence,
}

#[derive(Default)]
struct Server {
    answers: HashMap<String, String>,
    /// By path, the last one first.
    troubles: Mutex<HashMap<String, Vec<Trouble>>>,
    /// The authorization that is asked for.
    authorization: Option<String>,
    requests: Mutex<Vec<String>>,
}

impl Server {
    fn schema(mut self, path: &str, kind: &str, schema: &str, references: &[(&str, &str, u32)]) -> Self {
        let references: Vec<_> = references
            .iter()
            .map(|(name, subject, version)| serde_json::json!({"name": name, "subject": subject, "version": version}))
            .collect();
        let mut answer = serde_json::json!({"schema": schema});
        if kind != "AVRO" {
            answer["schemaType"] = kind.into();
        }
        if !references.is_empty() {
            answer["references"] = references.into();
        }
        self.answers.insert(path.to_string(), answer.to_string());
        self
    }

    async fn start(self) -> (String, Arc<Server>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::new(self);
        let shared = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(shared.clone().serve(stream));
            }
        });
        (url, server)
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut request = Vec::new();
        while !request.windows(4).any(|w| w == b"\r\n\r\n") {
            let mut part = [0; 1024];
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => return,
                Ok(n) => request.extend_from_slice(&part[..n]),
            }
        }
        let request = String::from_utf8(request).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_string();
        self.requests.lock().unwrap().push(path.clone());
        let given = request.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_string);
        let trouble = self.troubles.lock().unwrap().get_mut(&path).and_then(Vec::pop);
        let unknown = r#"{"error_code":40403,"message":"Schema not found"}"#.to_string();
        let (status, body) = match (trouble, self.answers.get(&path)) {
            (Some(Trouble::Silence), _) => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
            (Some(Trouble::Status(status)), _) => (status, format!("{{\"error_code\":{status}01}}")),
            (Some(Trouble::Page(status)), _) => (status, "<html>not here</html>".to_string()),
            _ if self.authorization.is_some() && self.authorization != given => (401, r#"{"error_code":40101}"#.into()),
            (None, Some(answer)) => (200, answer.clone()),
            (None, None) => (404, unknown),
        };
        let kind = "application/vnd.schemaregistry.v1+json";
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n", body.len());
        let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await;
    }
}

/// A source that hands out its messages once, and again from the start after a failure.
struct Log {
    messages: Vec<Message>,
    next: usize,
}

static LOGS: Mutex<Option<HashMap<String, Vec<Message>>>> = Mutex::new(None);

#[async_trait]
impl Source for Log {
    fn plan(&mut self) -> Result<Flow, Vec<Problem>> {
        Ok(Flow { open: true, ..Flow::default() })
    }

    async fn open(&mut self, _lane: &LaneContext) -> Result<()> {
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Batch>> {
        let batch: Vec<_> = self.messages.get(self.next..).unwrap_or_default().iter().take(2).cloned().collect();
        self.next += batch.len();
        Ok((!batch.is_empty()).then(|| Batch::from_messages(batch)))
    }

    async fn commit(&mut self, _: &Offsets) -> Result<()> {
        Ok(())
    }
}

struct Ran {
    outcome: Outcome,
    /// The raw store's rows by table.
    rows: HashMap<String, Vec<String>>,
    parked: Vec<Parked>,
}

async fn run(name: &str, registry: &str, messages: Vec<Message>, shutdown: CancellationToken) -> Ran {
    LOGS.lock().unwrap().get_or_insert_default().insert(name.to_string(), messages);
    let dir = tempfile::tempdir().unwrap();
    let yaml = format!(
        "name: {name}\nsource: {{ log: {{ name: {name} }} }}\nstages:\n  - debezium:\n      registry: {{ {registry} }}\n      tables: {{ p: {{ key: [id], columns: {{ id: int64, made: timestamp(6), amount: 'decimal(18,2)' }} }} }}\n  - raw: bank\n"
    );
    let components = headwater::builtin().source("log", |section: &mut Section<'_>| {
        let name = section.required_text("name").value;
        Box::new(Log { messages: LOGS.lock().unwrap().as_ref().unwrap()[&name].clone(), next: 0 })
    });
    let pipeline = load_text(name, &yaml, &components, &|_: &str| None).unwrap();
    let stores = Arc::new(Stores::new(dir.path()));
    let options = RunOptions {
        data_dir: dir.path().into(),
        stores: stores.clone(),
        until_end: true,
        accepted: Default::default(),
        shutdown,
    };
    let outcome = Fleet::start(vec![pipeline], &options).finish(true).await.remove(0).outcome;
    let store = stores.get("bank").await.unwrap();
    let mut rows = HashMap::new();
    for (table, _) in store.tables().await.unwrap() {
        let found = store.snapshot().await.unwrap().scan(&table, None, 100).await.unwrap();
        rows.insert(table, found.into_iter().map(|stored| stored.row.to_json()).collect());
    }
    let parked = store.parked(None, None, 100).await.unwrap();
    Ran { outcome, rows, parked }
}

fn message(topic: &str, offset: i64, key: Vec<u8>, value: Vec<u8>) -> Message {
    Message {
        topic: topic.into(),
        epoch: Epoch::default(),
        partition: 0,
        offset,
        timestamp_ms: None,
        key: Some(Bytes::from(key)),
        value: Some(Bytes::from(value)),
        headers: Vec::new(),
    }
}

fn framed(id: u8, rest: &[&[u8]]) -> Vec<u8> {
    [&[0, 0, 0, 0, id][..], &rest.concat()].concat()
}

fn sized(field: u8, bytes: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2, bytes.len() as u8][..], bytes].concat()
}

const AVRO_KEY: &str = r#"{"type":"record","name":"Key","fields":[{"name":"id","type":"long"}]}"#;
const AVRO: &str = r#"{"type":"record","name":"Envelope","namespace":"b.a","fields":[{"name":"after","type":["null","b.a.Value"]},{"name":"source","type":{"type":"record","name":"S","fields":[{"name":"connector","type":"string"},{"name":"table","type":"string"}]}},{"name":"op","type":"string"}]}"#;
const AVRO_ROW: &str = r#"{"type":"record","name":"Value","namespace":"b.a","fields":[{"name":"id","type":"long"},{"name":"name","type":"string"}]}"#;
const PROTOBUF: &str = r#"syntax = "proto3"; package b.p; import "confluent/type/decimal.proto"; import "shared/row.proto";
message Other { string x = 1; }
message Envelope { shared.Row after = 2; Source source = 3; string op = 4; message Source { string connector = 1; string table = 2; } }"#;
const PROTOBUF_ROW: &str = r#"syntax = "proto3"; package shared; import "confluent/type/decimal.proto";
message Row { int64 id = 1; int64 made = 2; confluent.type.Decimal amount = 3; optional string note = 4; }"#;
const JSON: &str = r#"{"type":"object","title":"b.j.Envelope","properties":{"after":{"type":"object","title":"b.j.Value","properties":{"id":{"type":"integer"},"amount":{"type":"number","title":"org.apache.kafka.connect.data.Decimal","connect.type":"bytes","connect.parameters":{"scale":"2"}}}}}}"#;

fn server() -> Server {
    Server::default()
        .schema("/schemas/ids/1", "AVRO", AVRO_KEY, &[])
        .schema("/schemas/ids/2", "AVRO", AVRO, &[("b.a.Value", "b.a.Value", 3)])
        .schema("/subjects/b.a.Value/versions/3", "AVRO", AVRO_ROW, &[])
        .schema("/schemas/ids/3", "PROTOBUF", PROTOBUF, &[("shared/row.proto", "shared/row.proto", 1)])
        .schema("/subjects/shared%2Frow.proto/versions/1", "PROTOBUF", PROTOBUF_ROW, &[])
        .schema("/schemas/ids/4", "JSON", JSON, &[])
}

fn avro(id: u8) -> Message {
    // after: branch 1, id, "x"; source: "s", "a"; op: "c".
    let value = framed(2, &[&[2, id << 1, 2, b'x'], &[2, b's', 2, b'a'], &[2, b'c']]);
    message("b.a", i64::from(id), framed(1, &[&[id << 1]]), value)
}

/// The file's second message type; a key in JSON.
fn protobuf(id: u8) -> Message {
    let row = [vec![1 << 3, id, 2 << 3, 1], sized(3, &[sized(1, &[0xff]), vec![3 << 3, 2]].concat())].concat();
    let source = [sized(1, b"s"), sized(2, b"p")].concat();
    let value = framed(3, &[&[2, 2], &sized(2, &row), &sized(3, &source), &sized(4, b"c")]);
    message("b.p", i64::from(id), format!("{{\"id\":{id}}}").into_bytes(), value)
}

fn json(id: u8, schema: u8) -> Message {
    let value = format!(
        r#"{{"before":null,"after":{{"id":{id},"amount":"/w=="}},"source":{{"connector":"s","table":"j"}},"op":"c"}}"#
    );
    message("b.j", i64::from(id), framed(1, &[&[id << 1]]), framed(schema, &[value.as_bytes()]))
}

fn done(ran: &Ran) {
    assert!(matches!(ran.outcome, Outcome::Done), "{:?}", ran.outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_schema_is_fetched_once_with_what_it_refers_to() {
    let token = STANDARD.encode("user:s3cret");
    let (url, server) = Server { authorization: Some(format!("Basic {token}")), ..server() }.start().await;
    let settings = format!("url: '{url}', username: user, password: s3cret");
    let messages = vec![avro(1), protobuf(1), json(1, 4), avro(2), protobuf(2), json(2, 4)];
    let ran = run("registry-kinds", &settings, messages, CancellationToken::new()).await;
    done(&ran);
    assert!(ran.parked.is_empty(), "{:?}", ran.parked);
    assert_eq!(ran.rows["a"], [r#"{"id":1,"name":"x"}"#, r#"{"id":2,"name":"x"}"#]);
    let row = |id: u8| format!(r#"{{"id":{id},"made":"1970-01-01T00:00:00.000001","amount":-0.01,"note":null}}"#);
    assert_eq!(ran.rows["p"], [row(1), row(2)]);
    assert_eq!(ran.rows["j"], [r#"{"id":1,"amount":-0.01}"#, r#"{"id":2,"amount":-0.01}"#]);
    let mut requests = server.requests.lock().unwrap().clone();
    requests.sort();
    assert_eq!(requests.len(), 6, "each once: {requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_of_the_registry_pause_and_park_nothing() {
    let (url, server) = Server { authorization: Some("Bearer t0ken".into()), ..server() }.start().await;
    // The last one first: an error, silence, a refusal, a page of something in between, and then the schema.
    let troubles = vec![Trouble::Page(404), Trouble::Status(401), Trouble::Silence, Trouble::Status(503)];
    server.troubles.lock().unwrap().insert("/schemas/ids/2".into(), troubles);
    let settings = format!("url: '{url}', token: t0ken, timeout: 300ms");
    let ran = run("registry-outages", &settings, vec![avro(1), avro(2)], CancellationToken::new()).await;
    done(&ran);
    assert!(ran.parked.is_empty(), "{:?}", ran.parked);
    assert_eq!(ran.rows["a"].len(), 2);
    let asked = server.requests.lock().unwrap().iter().filter(|path| *path == "/schemas/ids/2").count();
    assert_eq!(asked, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_the_registry_lacks_parks_its_messages_with_their_bytes() {
    let (url, _) = server().start().await;
    let settings = format!("url: '{url}'");
    let lost = json(2, 9);
    let messages = vec![avro(1), lost.clone(), json(3, 4)];
    let ran = run("registry-lacks", &settings, messages, CancellationToken::new()).await;
    done(&ran);
    assert_eq!((ran.rows["a"].len(), ran.rows["j"].len()), (1, 1), "the others go on");
    assert_eq!(ran.parked.len(), 1);
    assert_eq!(ran.parked[0].message, lost);
    assert_eq!(ran.parked[0].code, "registry.unknown");
    assert!(ran.parked[0].reason.contains("schema 9"), "{}", ran.parked[0].reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_stops_nothing_and_is_never_said() {
    let (url, _) = Server { authorization: Some("Basic other".into()), ..server() }.start().await;
    let settings = format!("url: '{url}', username: user, password: s3cret");
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        stop.cancel();
    });
    let ran = run("registry-password", &settings, vec![avro(1)], shutdown).await;
    assert!(ran.rows.get("a").is_none_or(Vec::is_empty) && ran.parked.is_empty());
    if let Outcome::Failed(Error::Broken(text) | Error::Config(text)) = &ran.outcome {
        panic!("{text}");
    }
}
