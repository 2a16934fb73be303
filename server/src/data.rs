//! The data directory, and the secrets in it: files of their own with mode 0600, generated at the first start.

use altmount_usenet::Memory;
use anyhow::{Context, Result, bail};
use rand::{Rng, distr::Alphanumeric};
use secrecy::SecretString;
use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// Where everything is kept.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The folder that `--data-dir` names, or the usual one.
    ///
    /// # Errors
    /// Where there is no usual one: no home directory.
    pub fn locate(given: Option<&Path>) -> Result<Self> {
        let usual = || -> Result<PathBuf> {
            let absolute = |name: &str| {
                std::env::var_os(name)
                    .map(PathBuf::from)
                    .filter(|p| p.is_absolute())
            };
            if let Some(data_home) = absolute("XDG_DATA_HOME") {
                return Ok(data_home.join("altmount"));
            }
            match absolute("HOME") {
                // A service, or a container: root's home is no place for data.
                Some(home) if home == Path::new("/root") => Ok("/var/lib/altmount".into()),
                Some(home) => Ok(home.join(".local/share/altmount")),
                None => bail!("there is no home directory; name a data directory with --data-dir"),
            }
        };
        let path = match given {
            Some(path) => path.to_owned(),
            None => usual()?,
        };
        Ok(Self(std::path::absolute(path)?))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder, readable by its owner alone, where it is not there.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(&self) -> Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&self.0)
            .with_context(|| format!("cannot make the data directory {}", self.0.display()))
    }

    /// The library's database.
    pub fn database_file(&self) -> PathBuf {
        self.0.join("altmount.db")
    }

    /// Whether there is a library: opening one makes it where there is none, and a folder that was named wrong is no empty library.
    ///
    /// # Errors
    /// Where that cannot be seen.
    pub fn has_library(&self) -> Result<bool> {
        let database = self.database_file();
        fs::exists(&database).with_context(|| format!("cannot look at {}", database.display()))
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.0.join("config.yaml")
    }

    /// The file with the API key.
    pub fn key_file(&self) -> PathBuf {
        self.0.join("api.key")
    }

    /// The file with the WebDAV password.
    pub fn password_file(&self) -> PathBuf {
        self.0.join("webdav.password")
    }

    /// Writes a configuration file where there is none.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn create_config(&self, text: &str) -> Result<()> {
        self.create_file(&self.config_file(), text.as_bytes())?;
        Ok(())
    }

    /// The file with the key that links are signed with.
    pub fn link_key_file(&self) -> PathBuf {
        self.0.join("links.key")
    }

    /// The API key, where there is one.
    ///
    /// # Errors
    /// Where its file cannot be read.
    pub fn api_key(&self) -> Result<Option<SecretString>> {
        read_secret(&self.key_file())
    }

    /// The API key, made where there is none.
    ///
    /// # Errors
    /// Where its file cannot be read or written.
    pub fn make_api_key(&self) -> Result<SecretString> {
        self.secret(&self.key_file(), new_key)
    }

    /// The WebDAV password, made where there is none.
    ///
    /// # Errors
    /// Where its file cannot be read or written.
    pub fn make_webdav_password(&self) -> Result<SecretString> {
        self.secret(&self.password_file(), || random(24))
    }

    /// The key that links are signed with, made where there is none. Where its file is deleted, no link of before opens anything.
    ///
    /// # Errors
    /// Where its file cannot be read or written.
    pub fn make_link_key(&self) -> Result<SecretString> {
        self.secret(&self.link_key_file(), || random(43))
    }

    /// Replaces the API key.
    ///
    /// # Errors
    /// Where its file cannot be written.
    pub fn rotate_api_key(&self) -> Result<()> {
        let file = self.written(format!("{}\n", new_key()).as_bytes())?;
        let path = self.key_file();
        file.persist(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.sync()
    }

    fn secret(&self, path: &Path, make: impl FnOnce() -> String) -> Result<SecretString> {
        if let Some(secret) = read_secret(path)? {
            return Ok(secret);
        }
        self.create_file(path, format!("{}\n", make()).as_bytes())?;
        read_secret(path)?.with_context(|| format!("{} is gone again", path.display()))
    }

    /// Makes a file in one step, unless somebody else was quicker.
    fn create_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let there = path
            .try_exists()
            .with_context(|| format!("cannot look at {}", path.display()))?;
        if there {
            return Ok(());
        }
        match self.written(bytes)?.persist_noclobber(path) {
            Ok(_) => self.sync(),
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e.error).with_context(|| format!("cannot write {}", path.display())),
        }
    }

    /// A file beside its target, with the bytes on disk. `tempfile` makes it with mode 0600.
    fn written(&self, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
        let write = || -> std::io::Result<tempfile::NamedTempFile> {
            let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        write().with_context(|| format!("cannot write into the data directory {}", self.0.display()))
    }

    fn sync(&self) -> Result<()> {
        let synced = fs::File::open(&self.0).and_then(|folder| folder.sync_all());
        synced.with_context(|| format!("cannot write the data directory {}", self.0.display()))
    }
}

/// 128 random bits in hexadecimal, the form that the clients of such servers expect of an API key.
fn new_key() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

fn random(len: usize) -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(len)
        .map(char::from)
        .collect()
}

fn read_secret(path: &Path) -> Result<Option<SecretString>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    let secret = text.trim();
    if secret.is_empty() {
        bail!(
            "{} is empty; delete it, and the next start makes a new one",
            path.display()
        );
    }
    Ok(Some(secret.into()))
}

/// What is learned of the news servers, as files in the folder `news` of the data directory: `usage.json` with the bytes
/// that count against quotas, `misses.json` with the articles that were missing lately.
#[derive(Debug)]
pub struct NewsMemory(PathBuf);

impl NewsMemory {
    /// In this data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self(data_dir.join("news"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }
}

impl Memory for NewsMemory {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.file(name)) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn save(&self, name: &str, text: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(self.file(name)).map_err(|e| e.error)?;
        // Without its folder's entry on the disk the old file comes back after a power cut, which does no harm.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn dir() -> (tempfile::TempDir, DataDir) {
        let temp = tempfile::tempdir().expect("a folder");
        let data = DataDir::locate(Some(&temp.path().join("below"))).expect("located");
        data.create().expect("made");
        (temp, data)
    }

    #[test]
    fn secrets_are_made_once_and_kept() {
        let (_temp, data) = dir();
        assert!(data.api_key().expect("read").is_none());
        let key = data.make_api_key().expect("made");
        assert_eq!(key.expose_secret().len(), 32);
        assert_eq!(
            data.make_api_key().expect("read").expose_secret(),
            key.expose_secret()
        );
        let password = data.make_webdav_password().expect("made");
        assert_eq!(password.expose_secret().len(), 24);
        data.rotate_api_key().expect("rotated");
        let new = data.api_key().expect("read").expect("there");
        assert_ne!(new.expose_secret(), key.expose_secret());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let (_temp, data) = dir();
        data.make_api_key().expect("made");
        data.make_webdav_password().expect("made");
        data.create_config("# nothing\n").expect("made");
        data.rotate_api_key().expect("rotated");
        for path in [data.key_file(), data.password_file(), data.config_file()] {
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        let mode = fs::metadata(data.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn an_empty_secret_is_no_secret() {
        let (_temp, data) = dir();
        fs::write(data.key_file(), "\n").expect("written");
        let error = data.make_api_key().expect_err("refused").to_string();
        assert!(error.contains("is empty"), "{error}");
        fs::write(data.key_file(), "mine\n").expect("written");
        assert_eq!(data.make_api_key().expect("read").expose_secret(), "mine");
    }
}
