//! Traces for an OpenTelemetry collector (feature `otel`): imports, fetches and reads as spans, sent by OTLP over HTTP.
//!
//! The spans are there in every build and cost nothing while nobody listens: they are of the target [`TARGET`] at the level
//! `trace`, which no usual log filter lets through. They have ids and classes in them, and no names.

use tracing_subscriber::{Layer, Registry};

/// What spans are marked with. Macros want it as a literal, so it stands beside each of them too.
pub const TARGET: &str = "altmount::trace";

/// A layer that sends spans; `None` where none are sent.
pub type Traces = Option<Box<dyn Layer<Registry> + Send + Sync>>;

#[cfg(feature = "otel")]
mod otlp {
    use super::{TARGET, Traces};
    use anyhow::{Context, Result};
    use async_trait::async_trait;
    use bytes::Bytes;
    use http::{Request, Response};
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_http::{HttpClient, HttpError};
    use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
    use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
    use std::time::Duration;
    use tokio::runtime::Handle;
    use tracing_subscriber::{Layer, filter::Targets};

    /// For one batch of spans.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Our own client: spans are gathered by a thread without a runtime, and are sent in the program's.
    #[derive(Debug)]
    struct Client {
        http: reqwest::Client,
        runtime: Handle,
    }

    #[async_trait]
    impl HttpClient for Client {
        async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            let request: reqwest::Request = request.try_into()?;
            let http = self.http.clone();
            let sent = self.runtime.spawn(async move {
                let answer = http.execute(request).await?;
                let (status, headers) = (answer.status(), answer.headers().clone());
                let mut whole = Response::new(answer.bytes().await?);
                (*whole.status_mut(), *whole.headers_mut()) = (status, headers);
                Ok::<_, reqwest::Error>(whole)
            });
            Ok(sent.await??)
        }
    }

    /// Sends spans until it is ended.
    #[derive(Debug)]
    pub struct Telemetry(Option<SdkTracerProvider>);

    impl Telemetry {
        /// To this address, where there is one; and the layer that takes the spans.
        ///
        /// # Errors
        /// Where there can be no client.
        pub fn start(endpoint: Option<&str>, runtime: &Handle) -> Result<(Self, Traces)> {
            let Some(endpoint) = endpoint else {
                return Ok((Self(None), None));
            };
            crate::app::install_crypto();
            let client = Client {
                http: reqwest::Client::builder().timeout(PATIENCE).build()?,
                runtime: runtime.clone(),
            };
            let exporter = SpanExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(endpoint)
                .with_timeout(PATIENCE)
                .build()
                .context("traces cannot be sent to 'telemetry.otlp_endpoint'")?;
            let resource = Resource::builder().with_service_name("altmount").build();
            let provider = SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .with_resource(resource)
                .build();
            let layer = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("altmount"))
                .with_filter(Targets::new().with_target(TARGET, tracing::Level::TRACE));
            Ok((Self(Some(provider)), Some(layer.boxed())))
        }

        /// Sends what is left. Blocks, for as long as one batch may take.
        pub fn end(self) {
            if let Some(provider) = self.0
                && let Err(error) = provider.shutdown()
            {
                tracing::warn!("the last traces were not sent: {error}");
            }
        }
    }
}

#[cfg(feature = "otel")]
pub use otlp::Telemetry;

/// Nothing is sent: the program was built without the feature `otel`, and its configuration has no address then.
#[cfg(not(feature = "otel"))]
#[derive(Debug)]
pub struct Telemetry;

#[cfg(not(feature = "otel"))]
impl Telemetry {
    /// Does nothing.
    ///
    /// # Errors
    /// Never.
    pub fn start(
        _endpoint: Option<&str>,
        _runtime: &tokio::runtime::Handle,
    ) -> anyhow::Result<(Self, Traces)> {
        Ok((Self, None))
    }

    /// Does nothing.
    pub fn end(self) {}
}

#[cfg(all(test, feature = "otel"))]
mod tests {
    use super::*;
    use axum::{Router, body::Bytes, extract::State, routing::post};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_collector_is_sent_our_spans_and_no_others() {
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let hear = async |State(heard): State<Arc<Mutex<Vec<u8>>>>, body: Bytes| {
            heard.lock().expect("not poisoned").extend_from_slice(&body);
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let at = listener.local_addr().expect("an address");
        let router = Router::new()
            .route("/v1/traces", post(hear))
            .with_state(Arc::clone(&heard));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let runtime = tokio::runtime::Handle::current();
        let endpoint = format!("http://{at}/v1/traces");
        let (telemetry, traces) = Telemetry::start(Some(&endpoint), &runtime).expect("starts");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(traces), || {
            let import = tracing::trace_span!(target: "altmount::trace", "import", job.id = 3);
            import.in_scope(|| {
                drop(tracing::trace_span!(target: "altmount::trace", "fetch", class = "import"));
                drop(tracing::trace_span!("of-somebody-else"));
            });
        });
        // It blocks, and what it waits for is sent by this runtime.
        tokio::task::spawn_blocking(|| telemetry.end())
            .await
            .expect("ended");
        let heard = heard.lock().expect("not poisoned");
        let text = String::from_utf8_lossy(&heard);
        for part in ["altmount", "import", "fetch", "job.id", "class"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("of-somebody-else"), "{text}");
    }

    #[test]
    fn nothing_is_sent_where_nobody_is_named() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let (telemetry, traces) = Telemetry::start(None, runtime.handle()).expect("starts");
        assert!(traces.is_none());
        telemetry.end();
    }
}
