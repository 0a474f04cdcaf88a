//! A schema registry's REST API: schemas by id, with the schemas that they refer to.
//!
//! API: “Confluent Schema Registry API Reference” (`/schemas/ids/{id}`, `/subjects/{subject}/versions/{version}`), which
//! Apicurio serves under `/apis/ccompat/v7` and Karapace as it is.
//!
//! A schema never changes under its id, so each is asked for once a process. A registry that cannot be reached or that
//! refuses the credentials is an outage: the lane pauses and nothing is parked. A schema that it does not have is not.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::Deserialize;

use crate::cdc::{AvroSchema, Fault, Known};
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

#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: i64,
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
        Registry { urls, login, id_bytes, client: None }
    }

    /// The schema of `id`.
    pub async fn schema(&mut self, id: u64) -> Result<Known> {
        let answer = match self.get(&format!("schemas/ids/{id}")).await? {
            Some(answer) => answer,
            None => {
                let reason = format!("the registry does not have schema {id}");
                return Ok(Known::Unusable(Fault::new("registry.unknown", reason)));
            }
        };
        match answer.schema_type.as_deref().unwrap_or("AVRO") {
            "AVRO" => {
                let references = self.references(answer.references).await?;
                Ok(match AvroSchema::parse(&answer.schema, &references) {
                    Ok(schema) => Known::Avro(Arc::new(schema)),
                    Err(fault) => Known::Unusable(fault),
                })
            }
            "JSON" => Ok(Known::Json),
            other => {
                let reason = format!("schema {id} is of type {other}: expected AVRO or JSON");
                Ok(Known::Unusable(Fault::new("registry.type", reason)))
            }
        }
    }

    /// Texts of all schemas that are referred to, those first that others refer to.
    async fn references(&mut self, mut open: Vec<Reference>) -> Result<Vec<String>> {
        let (mut texts, mut asked) = (Vec::new(), Vec::new());
        while let Some(reference) = open.pop() {
            let name = (reference.subject, reference.version);
            if asked.contains(&name) || asked.len() >= MAX_REFERENCES {
                continue;
            }
            if let Some(answer) = self.get(&format!("subjects/{}/versions/{}", name.0, name.1)).await? {
                texts.insert(0, answer.schema);
                open.extend(answer.references);
            }
            asked.push(name);
        }
        Ok(texts)
    }

    /// The answer of the first registry that gives one; `None` when it does not have what is asked for.
    async fn get(&mut self, path: &str) -> Result<Option<Answer>> {
        let mut last = Error::Config("registry: no `url` is given".into());
        for url in self.urls.clone() {
            match self.ask(&format!("{url}/{path}")).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error.at(format!("schema registry {}", without_login(&url))),
            }
        }
        Err(last)
    }

    async fn ask(&mut self, url: &str) -> Result<Option<Answer>> {
        let unavailable = |e: reqwest::Error| Error::Unavailable(e.without_url().to_string());
        let request = self.client()?.get(url).header("accept", "application/vnd.schemaregistry.v1+json");
        let request = match &self.login {
            Login::None => request,
            Login::Basic { username, password } => request.basic_auth(username, Some(password)),
            Login::Token(token) => request.bearer_auth(token),
        };
        let response = request.send().await.map_err(unavailable)?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Error::Unavailable(
                    "it refuses the credentials (`username` and `password`, or `token`)".into(),
                ));
            }
            status if !status.is_success() => return Err(Error::Unavailable(format!("it answers {status}"))),
            _ => {}
        }
        let body = response.bytes().await.map_err(unavailable)?;
        if body.len() > MAX_ANSWER_BYTES {
            return Err(Error::Unavailable("its answer is larger than 8 MB".into()));
        }
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|_| Error::Unavailable("its answer is not a schema as JSON".into()))
    }

    fn client(&mut self) -> Result<&Client> {
        if self.client.is_none() {
            // Another part of the process may have installed a provider before: that one serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = Client::builder().timeout(TIMEOUT).build();
            self.client = Some(client.map_err(|e| Error::Config(format!("registry: {e}")))?);
        }
        self.client.as_ref().ok_or_else(|| Error::Config("registry: no client".into()))
    }
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
        Registry { urls: vec![url.into()], login, id_bytes: 4, client: None }
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
            ("/schemas/ids/3", "200 OK", r#"{"schemaType":"PROTOBUF","schema":"syntax = \"proto3\";"}"#),
            ("/schemas/ids/4", "503 Service Unavailable", ""),
        ])
        .await;
        let mut registry = registry(&url, "p");
        assert!(matches!(registry.schema(1).await.unwrap(), Known::Avro(_)));
        assert!(matches!(registry.schema(2).await.unwrap(), Known::Json));
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

    #[test]
    fn logins_in_urls_are_not_said() {
        assert_eq!(without_login("https://u:s3cret@host:8081/a"), "https://host:8081/a");
    }
}
