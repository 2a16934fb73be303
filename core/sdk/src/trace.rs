//! What a loaded importer says through `tracing`, as lines of the host's log.
//!
//! A loaded importer has a copy of `tracing` of its own, which nobody listens to. Here is a listener for it, which hands every event to
//! the host's `log` as a line of the import that is polled on the same thread, under the names of the spans around it. What threads
//! of the importer's own say belongs to no import and is dropped. A linked importer shares the host's copy and needs none of this.

use crate::{LogLevel, shim::Host};
use std::{cell::Cell, fmt::Write};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

thread_local! {
    /// The host of the import that this thread polls.
    static HOST: Cell<Option<Host>> = const { Cell::new(None) };
}

/// Listens to this copy of `tracing`. Where the importer has a listener of its own already, that one stays.
pub(crate) fn install() {
    let listener = Registry::default().with(ToHost.with_filter(LevelFilter::DEBUG));
    let _another_listens = tracing::subscriber::set_global_default(listener);
}

/// Hands what `work` says to this host.
pub(crate) fn within<R>(host: Host, work: impl FnOnce() -> R) -> R {
    struct Back(Option<Host>);
    impl Drop for Back {
        fn drop(&mut self) {
            // A thread that ends has nothing to put back.
            let _ended = HOST.try_with(|held| held.set(self.0));
        }
    }
    let _back = Back(HOST.replace(Some(host)));
    work()
}

struct ToHost;

/// The fields of a span, or of an event, as text.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a text does not fail.
        let _written = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.others, " {}={value:?}", field.name())
        };
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ToHost {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = cx.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let Ok(Some(host)) = HOST.try_with(Cell::get) else {
            return;
        };
        let mut line = String::new();
        for span in cx
            .event_scope(event)
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .iter()
            .rev()
        {
            line.push_str(span.name());
            if let Some(fields) = span.extensions().get::<Fields>()
                && !fields.others.is_empty()
            {
                let _written = write!(line, "{{{}}}", fields.others.trim_start());
            }
            line.push_str(": ");
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        line.push_str(&fields.message);
        line.push_str(&fields.others);
        let level = match *event.metadata().level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        crate::ImportContext::log(&host, level, &line);
    }
}
