use std::any::Any;

/// What a panic said. The payload is forgotten on purpose: dropping it may run foreign code that panics again.
pub(crate) fn text(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&'static str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    std::mem::forget(payload);
    text.chars().take(500).collect()
}
