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
        Manifest::new("hello", env!("CARGO_PKG_VERSION"))
            .name("Greetings")
            .extension("hello")
    }

    fn create(config: Json) -> Result<Self> {
        let greeting = config["greeting"].as_str().unwrap_or("Hello");
        Ok(Self {
            greeting: greeting.to_owned(),
        })
    }

    fn probe(&self, _name: &str, head: &[u8]) -> Confidence {
        if str::from_utf8(head).is_ok() {
            Confidence::LIKELY
        } else {
            Confidence::NO
        }
    }

    async fn import(&self, _request: ImportRequest, cx: &dyn ImportContext) -> Result<Summary> {
        let bytes = cx.read_all(Handle::UPLOAD, 1 << 20).await?;
        for line in String::from_utf8_lossy(&bytes)
            .lines()
            .filter(|line| !line.is_empty())
        {
            let invalid = |e| ImportError::new(ErrorKind::Invalid, format!("'{line}' is no name: {e}"));
            let path = VPath::new(&format!("{}.txt", sanitize_component(line))).map_err(invalid)?;
            let bytes = format!("{}, {line}!\n", self.greeting).into_bytes();
            let size = bytes.len() as u64;
            cx.emit(VirtualFile::new(
                path,
                size,
                Content::single(Node::Inline { bytes }),
            ))?;
        }
        Ok(Summary::default())
    }
}

export_importer!(Hello);
