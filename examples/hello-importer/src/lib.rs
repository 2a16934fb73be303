//! Every line of a `.hello` file becomes a text file that greets whom the line names.

use altmount_sdk::*;

/// The importer.
#[derive(Debug)]
pub struct Hello {
    greeting: String,
}

#[async_trait]
impl Importer for Hello {
    fn manifest() -> Manifest {
        let keys = json!({"greeting": {"type": "string", "default": "Hello"}});
        Manifest::new("hello", env!("CARGO_PKG_VERSION"))
            .name("Greetings")
            .extension("hello")
            .config_schema(json!({"type": "object", "properties": keys, "additionalProperties": false}))
    }

    fn create(config: Json) -> Result<Self> {
        let greeting = config["greeting"].as_str().unwrap_or("Hello").to_owned();
        Ok(Self { greeting })
    }

    fn probe(&self, _name: &str, head: &[u8]) -> Confidence {
        match str::from_utf8(head) {
            Ok(_) => Confidence::LIKELY,
            Err(_) => Confidence::NO,
        }
    }

    async fn import(&self, _request: ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
        let bytes = cx.read_all(Handle::UPLOAD, 1 << 20).await?;
        let text = String::from_utf8_lossy(&bytes);
        for line in text.lines().filter(|line| !line.is_empty()) {
            let path = sanitize_component(&format!("{line}.txt"));
            cx.emit(VirtualFile::inline(
                &path,
                format!("{}, {line}!\n", self.greeting),
            )?)?;
        }
        Ok(Summary::default())
    }
}

export_importer!(Hello);
