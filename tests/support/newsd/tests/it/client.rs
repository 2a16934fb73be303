//! A client of a few lines for the tests: it knows NNTP's framing and yEnc as their documents say, and nothing more.

use altmount_newsd::Newsd;
use rustls::{ClientConfig, RootCertStore};
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) struct Client(BufReader<Box<dyn Stream>>);

impl Client {
    /// Connects; the greeting is not yet read.
    pub(crate) async fn dial(server: &Newsd) -> Self {
        let socket = TcpStream::connect(server.address()).await.unwrap();
        let stream: Box<dyn Stream> = match server.certificate() {
            None => Box::new(socket),
            Some(certificate) => {
                let mut roots = RootCertStore::empty();
                roots.add(certificate.clone()).unwrap();
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let name = "localhost".try_into().unwrap();
                Box::new(
                    TlsConnector::from(Arc::new(config))
                        .connect(name, socket)
                        .await
                        .unwrap(),
                )
            }
        };
        Self(BufReader::new(stream))
    }

    /// Connects and reads the greeting.
    pub(crate) async fn connect(server: &Newsd) -> Self {
        let mut client = Self::dial(server).await;
        assert!(client.line().await.unwrap().starts_with("200 "));
        client
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// One reply line; an error at the end of the connection.
    pub(crate) async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(crate) async fn ask(&mut self, command: &str) -> io::Result<String> {
        self.send(&format!("{command}\r\n")).await;
        self.line().await
    }

    /// The lines up to the dot, undone of their doubled dots.
    pub(crate) async fn text(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            self.0.read_until(b'\n', &mut line).await?;
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            if line == b"." {
                return Ok(lines);
            }
            lines.push(line.strip_prefix(b".").unwrap_or(line).to_vec());
        }
    }

    /// Asks for a body and decodes it.
    pub(crate) async fn body(&mut self, id: &str) -> io::Result<Result<Part, String>> {
        let reply = self.ask(&format!("BODY <{id}>")).await?;
        if !reply.starts_with("222 ") {
            return Ok(Err(reply));
        }
        Ok(Ok(Part::decode(&self.text().await?)))
    }

    /// Reads until the server closes.
    pub(crate) async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        // A reset is an end too.
        !matches!(self.0.read_until(b'\n', &mut rest).await, Ok(1..))
    }
}

/// A yEnc article, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) begin: String,
    pub(crate) part: Option<String>,
    pub(crate) end: Option<String>,
    pub(crate) data: Vec<u8>,
}

impl Part {
    fn decode(lines: &[Vec<u8>]) -> Self {
        let mut part = Self::default();
        for line in lines {
            if line.starts_with(b"=y") {
                let text = String::from_utf8_lossy(line).into_owned();
                match text.split_once(' ') {
                    Some(("=ybegin", rest)) => part.begin = rest.to_owned(),
                    Some(("=ypart", rest)) => part.part = Some(rest.to_owned()),
                    Some(("=yend", rest)) => part.end = Some(rest.to_owned()),
                    _ => panic!("unexpected line {text}"),
                }
                continue;
            }
            let mut bytes = line.iter();
            while let Some(byte) = bytes.next() {
                let byte = match byte {
                    b'=' => bytes
                        .next()
                        .expect("an escape pair is never split")
                        .wrapping_sub(64),
                    byte => *byte,
                };
                part.data.push(byte.wrapping_sub(42));
            }
        }
        part
    }

    /// A field of a header line.
    pub(crate) fn field(&self, line: &str, name: &str) -> Option<String> {
        let key = format!("{name}=");
        line.split(' ')
            .find_map(|word| word.strip_prefix(&key))
            .map(str::to_owned)
    }

    /// Whether the part's checksum is that of its bytes.
    pub(crate) fn is_whole(&self) -> bool {
        let Some(end) = &self.end else { return false };
        let given = self.field(end, "pcrc32").or_else(|| self.field(end, "crc32"));
        given == Some(format!("{:08x}", crc32fast::hash(&self.data)))
    }
}
