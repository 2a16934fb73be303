//! Requests to an *arr. What it answers is foreign: bounded, and looked at member by member.

use super::kind::{Names, names};
use crate::config::ArrInstanceSettings;
use reqwest::{Method, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::{fmt, time::Duration};
use url::Url;

/// Largest answer, in bytes: the list of all series of a large library.
const MAX_ANSWER: usize = 64 << 20;
/// Longest text of an answer that is told to people, in characters.
const MAX_TOLD: usize = 300;
/// For an answer as a whole.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request to an *arr failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArrError {
    /// It does not answer, or not now: this is tried again.
    Unreachable(String),
    /// It says no, or what it says is no answer: trying again does not help, unless somebody mends the configuration.
    Refused {
        /// The HTTP status; 200 where the answer itself makes no sense.
        status: u16,
        /// What it says.
        text: String,
    },
}

impl ArrError {
    /// Whether what was to be done may still be done: when it answers again, or when somebody has mended the configuration (the
    /// key, the address). Not where it refuses the thing itself.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            // A redirect is somebody's login page, and what is no JSON is no *arr.
            Self::Refused { status, .. } => matches!(status, 200..=399 | 401 | 403),
        }
    }

    /// Our own store failed: as good as an *arr that does not answer, for what is to be done.
    pub(super) fn store(error: altmount_engine::StoreError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl fmt::Display for ArrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(text) => f.write_str(text),
            Self::Refused { status: 401, .. } => f.write_str(
                "it refuses the API key; Settings, General of the application shows the right one",
            ),
            Self::Refused {
                status: 300..=399, ..
            } => f.write_str("it answers with a redirect; 'url' has to be the address of the application itself, its URL base included"),
            Self::Refused { status, text } => write!(f, "it answers {status}: {text}"),
        }
    }
}

impl std::error::Error for ArrError {}

/// One *arr.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    key: SecretString,
    pub(super) names: &'static Names,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

fn told(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TOLD).collect()
}

/// What the *arrs say of a request that they refuse: a list of faults, or a message.
fn reason(body: &Value) -> String {
    let faults: Vec<&str> = body
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|fault| fault["errorMessage"].as_str())
        .collect();
    if !faults.is_empty() {
        return told(&faults.join("; "));
    }
    told(
        body["message"]
            .as_str()
            .or_else(|| body["error"].as_str())
            .unwrap_or("no reason"),
    )
}

impl Client {
    pub(super) fn new(instance: &ArrInstanceSettings) -> Result<Self, reqwest::Error> {
        crate::app::install_crypto();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A login page in front of it answers with redirects, and its 200 is no answer.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("AltMount/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            http,
            base: instance.url.clone(),
            key: instance.api_key.clone(),
            names: names(instance.kind),
        })
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts
                .pop_if_empty()
                .push("api")
                .push(self.names.api)
                .extend(path.split('/'));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, ArrError> {
        let mut request = self
            .http
            .request(method, self.url(path, query))
            .header("X-Api-Key", self.key.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            let mut text = format!("no answer from {}: {error}", self.base);
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            ArrError::Unreachable(told(&text))
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(more) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + more.len() > MAX_ANSWER {
                return Err(ArrError::Refused {
                    status: status.as_u16(),
                    text: format!("an answer of over {MAX_ANSWER} bytes"),
                });
            }
            bytes.extend_from_slice(&more);
        }
        let body: Option<Value> = match bytes.as_slice() {
            [] => Some(Value::Null),
            text => serde_json::from_slice(text).ok(),
        };
        if status.is_server_error()
            || matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            )
        {
            let said = body.as_ref().map_or_else(|| "no reason".to_owned(), reason);
            return Err(ArrError::Unreachable(format!(
                "it answers {}: {said}",
                status.as_u16()
            )));
        }
        if !status.is_success() {
            return Err(ArrError::Refused {
                status: status.as_u16(),
                text: body.as_ref().map_or_else(|| "no reason".to_owned(), reason),
            });
        }
        body.ok_or_else(|| ArrError::Refused {
            status: status.as_u16(),
            text: "what it says is no JSON; is the address that of the application itself?".to_owned(),
        })
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, ArrError> {
        self.send(Method::GET, path, query, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ArrError> {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value, ArrError> {
        self.send(Method::PUT, path, &[], Some(body)).await
    }

    /// What is gone already is as good as deleted.
    pub(super) async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<(), ArrError> {
        match self.send(Method::DELETE, path, query, None).await {
            Ok(_) | Err(ArrError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn command(&self, body: &Value) -> Result<(), ArrError> {
        match self.post("command", body).await {
            // Every *arr takes commands: there is none at this address.
            Err(ArrError::Refused { status: 404, .. }) => Err(ArrError::Refused {
                status: 200,
                text: "there is no API; is the URL base of the application in 'url'?".to_owned(),
            }),
            done => done.map(drop),
        }
    }

    /// Looks whether it is there, takes the key, and is what the configuration says that it is. Answers its version.
    pub(super) async fn test(&self) -> Result<String, ArrError> {
        let status = self.get("system/status", &[]).await?;
        let app = status["appName"].as_str().unwrap_or_default();
        if !app.is_empty() && app != self.names.app {
            return Err(ArrError::Refused {
                status: 200,
                text: format!(
                    "it is {}, and the configuration says {}",
                    told(app),
                    self.names.app
                ),
            });
        }
        match status["version"].as_str() {
            Some(version) if !version.starts_with(self.names.version) => Err(ArrError::Refused {
                status: 200,
                text: format!(
                    "it is version {}, and the kind in the configuration is for versions {}*: 'whisparr' is Whisparr 2, \
                     'whisparr_v3' Whisparr 3",
                    told(version),
                    self.names.version
                ),
            }),
            Some(version) => Ok(told(version)),
            None => Err(ArrError::Refused {
                status: 200,
                text: "it does not say its version; is the address that of the application itself?"
                    .to_owned(),
            }),
        }
    }
}
