//! A schema registry's REST API: schemas by id, with the schemas that they refer to.
//!
//! API: “Confluent Schema Registry API Reference” (`/schemas/ids/{id}`, `/subjects/{subject}/versions/{version}`), which
//! Apicurio serves under `/apis/ccompat/v7` and Karapace as it is.
//!
//! A schema never changes under its id, so each lane asks for it once. A registry that cannot be reached or that refuses
//! the credentials is an outage: the lane pauses and nothing is parked. A schema that it does not have is no outage: the
//! messages are parked, and the next batch that names it asks again.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use crate::cdc::{AvroSchema, Fault, JsonSchema, Known, ProtobufSchema};
use crate::error::{Error, Result};
use crate::pipeline::Section;

const TIMEOUT: Duration = Duration::from_secs(10);
/// References may refer on; more of them than this are no table's schema.
const MAX_REFERENCES: usize = 64;
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Where the registry is and who asks.
#[derive(Clone)]
pub struct Registry {
    urls: Vec<String>,
    login: Login,
    /// How many bytes ids have in messages.
    pub id_bytes: usize,
    timeout: Duration,
    client: Option<Client>,
}

#[derive(Clone)]
enum Login {
    None,
    Basic { username: String, password: String },
    Token(String),
}

#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Clone, Deserialize)]
struct Reference {
    /// Under which the schema refers to it: the import of a `.proto` file, the full name of an Avro type.
    name: String,
    subject: String,
    version: i64,
}

/// A schema that others refer to.
struct Referred {
    reference: Reference,
    /// Nothing where the registry does not have it.
    text: Option<String>,
    refers_to: Vec<Reference>,
}

impl Referred {
    fn is(&self, other: &Reference) -> bool {
        (&self.reference.subject, self.reference.version) == (&other.subject, other.version)
    }
}

/// Names and texts, each behind all that it refers to. Where schemas refer to each other in a circle, which no registry
/// accepts, they keep their order.
fn in_order(mut open: Vec<Referred>) -> Vec<(String, String)> {
    let mut done = Vec::with_capacity(open.len());
    while !open.is_empty() {
        let waits = |one: &Referred| one.refers_to.iter().any(|to| open.iter().any(|other| other.is(to)));
        let next = open.remove(open.iter().position(|one| !waits(one)).unwrap_or(0));
        done.extend(next.text.map(|text| (next.reference.name, text)));
    }
    done
}

/// What a registry answers with 404, if it is one: `{"error_code":40403, …}`.
#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
}

impl Registry {
    /// Reads the section `registry`.
    pub fn read(section: &mut Section<'_>) -> Registry {
        let _ = section.required_node("url");
        let urls = section.texts("url").into_iter().map(|url| url.value.trim_end_matches('/').to_string()).collect();
        let username = section.text("username");
        let password = section.text("password");
        let token = section.text("token");
        let login = match (username, token) {
            (Some(username), Some(_)) => {
                section.problem(username.problem("value.conflict", "expected `username` or `token`, found both"));
                Login::None
            }
            (Some(username), None) => {
                Login::Basic { username: username.value, password: password.map(|p| p.value).unwrap_or_default() }
            }
            (None, Some(token)) => Login::Token(token.value),
            (None, None) => Login::None,
        };
        let id_bytes = section.choice("id_bytes", &["4", "8"]).parse().unwrap_or(4);
        let timeout = section.duration("timeout").map_or(TIMEOUT, |timeout| timeout.value);
        Registry { urls, login, id_bytes, timeout, client: None }
    }

    /// The schema of `id`.
    pub async fn schema(&mut self, id: u64) -> Result<Known> {
        let answer = match self.get(&["schemas", "ids", &id.to_string()]).await? {
            Some(answer) => answer,
            None => {
                let reason = format!("the registry does not have schema {id}");
                return Ok(Known::Unusable(Fault::new("registry.unknown", reason)));
            }
        };
        let Answer { schema, schema_type, references } = answer;
        let parsed = match schema_type.as_deref().unwrap_or("AVRO") {
            "AVRO" => {
                let references = self.references(references).await?;
                let texts: Vec<String> = references.into_iter().map(|(_, text)| text).collect();
                AvroSchema::parse(&schema, &texts).map(|schema| Known::Avro(Arc::new(schema)))
            }
            "PROTOBUF" => {
                let references = self.references(references).await?;
                ProtobufSchema::parse(&schema, &references).map(|schema| Known::Protobuf(Arc::new(schema)))
            }
            "JSON" => JsonSchema::parse(&schema).map(|schema| Known::Json(Arc::new(schema))),
            other => {
                let reason = format!("schema {id} is of type {other}: expected AVRO, PROTOBUF or JSON");
                Err(Fault::new("registry.type", reason))
            }
        };
        Ok(parsed.unwrap_or_else(Known::Unusable))
    }

    /// Names and texts of all schemas that are referred to, those first that others refer to.
    async fn references(&mut self, mut open: Vec<Reference>) -> Result<Vec<(String, String)>> {
        let mut found: Vec<Referred> = Vec::new();
        while let Some(reference) = open.pop() {
            if found.iter().any(|known| known.is(&reference)) || found.len() >= MAX_REFERENCES {
                continue;
            }
            let path = ["subjects", &reference.subject, "versions", &reference.version.to_string()];
            let answer = self.get(&path).await?;
            let (text, refers_to) =
                answer.map_or((None, Vec::new()), |answer| (Some(answer.schema), answer.references));
            open.extend(refers_to.iter().cloned());
            found.push(Referred { reference, text, refers_to });
        }
        Ok(in_order(found))
    }

    /// The answer of the first registry that gives one; `None` when it does not have what is asked for.
    async fn get(&mut self, path: &[&str]) -> Result<Option<Answer>> {
        let mut last = Error::Config("registry: no `url` is given".into());
        for base in self.urls.clone() {
            let asked = match with_path(&base, path) {
                Some(url) => self.ask(url).await,
                None => Err(Error::Config("expected a URL such as http://registry:8081".into())),
            };
            match asked {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error.at(format!("schema registry {}", without_login(&base))),
            }
        }
        Err(last)
    }

    async fn ask(&mut self, url: Url) -> Result<Option<Answer>> {
        let unavailable = |e: reqwest::Error| Error::Unavailable(reason(&e));
        let request = self.client()?.get(url).header("accept", "application/vnd.schemaregistry.v1+json");
        let request = match &self.login {
            Login::None => request,
            Login::Basic { username, password } => request.basic_auth(username, Some(password)),
            Login::Token(token) => request.bearer_auth(token),
        };
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Error::Unavailable(
                    "it refuses the credentials (`username` and `password`, or `token`)".into(),
                ));
            }
            status if status != StatusCode::NOT_FOUND && !status.is_success() => {
                return Err(Error::Unavailable(format!("it answers {status}")));
            }
            _ => {}
        }
        let body = bounded(response).await?;
        if status == StatusCode::NOT_FOUND {
            return match serde_json::from_slice(&body) {
                Ok(Refusal { error_code: 40_400..=40_499 }) => Ok(None),
                _ => Err(Error::Unavailable(
                    "it answers 404 without a registry's error code: is its `url` complete (Apicurio: /apis/ccompat/v7)?"
                        .into(),
                )),
            };
        }
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|_| Error::Unavailable("its answer is not a schema as JSON".into()))
    }

    fn client(&mut self) -> Result<&Client> {
        if self.client.is_none() {
            // Another part of the process may have installed a provider before: that one serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = Client::builder().timeout(self.timeout).build();
            self.client = Some(client.map_err(|e| Error::Config(format!("registry: {e}")))?);
        }
        self.client.as_ref().ok_or_else(|| Error::Config("registry: no client".into()))
    }
}

/// The body of an answer. One without an end is no schema.
async fn bounded(mut response: Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|e| Error::Unavailable(reason(&e)))? {
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            return Err(Error::Unavailable("its answer is larger than 8 MB".into()));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// The URL of `path` below `base`. Names of subjects may hold slashes: each step is escaped.
fn with_path(base: &str, path: &[&str]) -> Option<Url> {
    let mut url = Url::parse(base).ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    Some(url)
}

/// Why a request failed, down to the cause, without the URL: that may hold a password.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer in time (`timeout`)".to_string();
    }
    let mut text = "it cannot be reached".to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("it cannot be reached: {inner}");
        cause = inner.source();
    }
    text
}

/// The URL without user and password.
fn without_login(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A registry that answers each request by its path; the requests it got.
    async fn serve(answers: &'static [(&'static str, &'static str, &'static str)]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 8192];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).to_string();
                let found = answers.iter().find(|(path, ..)| request.starts_with(&format!("GET {path} ")));
                let (status, body) = match found {
                    _ if !request.contains("authorization: Basic dTpw") => ("401 Unauthorized", "{}"),
                    Some((_, status, body)) => (*status, *body),
                    None => ("404 Not Found", r#"{"error_code":40403}"#),
                };
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        format!("http://{address}")
    }

    fn registry(url: &str, password: &str) -> Registry {
        let login = Login::Basic { username: "u".into(), password: password.into() };
        Registry { urls: vec![url.into()], login, id_bytes: 4, timeout: TIMEOUT, client: None }
    }

    #[tokio::test]
    async fn schemas_come_with_what_they_refer_to() {
        let url = serve(&[
            (
                "/schemas/ids/1",
                "200 OK",
                r#"{"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"m\",\"type\":\"n.Mood\"}]}","references":[{"name":"n.Mood","subject":"mood","version":3}]}"#,
            ),
            (
                "/subjects/mood/versions/3",
                "200 OK",
                r#"{"schema":"{\"type\":\"enum\",\"name\":\"Mood\",\"namespace\":\"n\",\"symbols\":[\"ok\"]}"}"#,
            ),
            ("/schemas/ids/2", "200 OK", r#"{"schemaType":"JSON","schema":"{}"}"#),
            ("/schemas/ids/3", "200 OK", r#"{"schemaType":"XML","schema":"syntax = \"proto3\";"}"#),
            ("/schemas/ids/4", "503 Service Unavailable", ""),
        ])
        .await;
        let mut registry = registry(&url, "p");
        assert!(matches!(registry.schema(1).await.unwrap(), Known::Avro(_)));
        assert!(matches!(registry.schema(2).await.unwrap(), Known::Json(_)));
        assert!(matches!(registry.schema(3).await.unwrap(), Known::Unusable(fault) if fault.code == "registry.type"));
        assert!(
            matches!(registry.schema(9).await.unwrap(), Known::Unusable(fault) if fault.code == "registry.unknown")
        );
        assert!(matches!(registry.schema(4).await.unwrap_err(), Error::Unavailable(_)));
    }

    #[tokio::test]
    async fn outages_and_wrong_passwords_pause() {
        let url = serve(&[]).await;
        let refused = registry(&url, "wrong").schema(1).await.unwrap_err();
        assert!(matches!(&refused, Error::Unavailable(text) if text.contains("refuses the credentials")), "{refused}");
        let gone = registry("http://127.0.0.1:1", "p").schema(1).await.unwrap_err();
        assert!(matches!(&gone, Error::Unavailable(text) if text.contains("127.0.0.1:1")), "{gone}");
    }

    #[tokio::test]
    async fn what_several_schemas_refer_to_comes_before_all_of_them() {
        const RECORD: &str = r#"{"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"n.A\"},{\"name\":\"b\",\"type\":\"n.B\"}]}","references":[{"name":"n.B","subject":"b","version":1},{"name":"n.A","subject":"a","version":1}]}"#;
        const A: &str = r#"{"schema":"{\"type\":\"record\",\"name\":\"n.A\",\"fields\":[{\"name\":\"m\",\"type\":\"n.Mood\"}]}","references":[{"name":"n.Mood","subject":"mood","version":3}]}"#;
        const B: &str = r#"{"schema":"{\"type\":\"record\",\"name\":\"n.B\",\"fields\":[{\"name\":\"m\",\"type\":\"n.Mood\"},{\"name\":\"a\",\"type\":\"n.A\"}]}","references":[{"name":"n.Mood","subject":"mood","version":3},{"name":"n.A","subject":"a","version":1}]}"#;
        let url = serve(&[
            ("/schemas/ids/1", "200 OK", RECORD),
            ("/subjects/a/versions/1", "200 OK", A),
            ("/subjects/b/versions/1", "200 OK", B),
            (
                "/subjects/mood/versions/3",
                "200 OK",
                r#"{"schema":"{\"type\":\"enum\",\"name\":\"n.Mood\",\"symbols\":[\"ok\"]}"}"#,
            ),
        ])
        .await;
        assert!(matches!(registry(&url, "p").schema(1).await.unwrap(), Known::Avro(_)));
    }

    #[test]
    fn schemas_that_refer_to_each_other_come_all_the_same() {
        let reference = |name: &str| Reference { name: name.into(), subject: name.into(), version: 1 };
        let referred = |name: &str, to: &str| Referred {
            reference: reference(name),
            text: Some(String::new()),
            refers_to: vec![reference(to)],
        };
        let names = in_order(vec![referred("a", "b"), referred("b", "a"), referred("c", "a")]);
        assert_eq!(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 8192]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
            while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
        });
        let endless = registry(&url, "p").schema(1).await.unwrap_err();
        assert!(matches!(&endless, Error::Unavailable(text) if text.contains("larger than 8 MB")), "{endless}");
    }

    #[test]
    fn logins_in_urls_are_not_said() {
        assert_eq!(without_login("https://u:s3cret@host:8081/a"), "https://host:8081/a");
    }
}
