//! The verified bytes where the dynamic linker can map them, and nobody can change them any more.

use crate::file::Verified;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, IntoRawFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// What nobody can do any more to a plugin's copy.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::GROW)
    .union(SealFlags::SHRINK)
    .union(SealFlags::SEAL);

/// How often the kernel is asked to seal a file whose pages are in use elsewhere.
const SEAL_ATTEMPTS: u32 = 20;

/// A loaded library. It is never unloaded: threads and thread-local destructors of its code may outlive any use of it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) library: libloading::os::unix::Library,
}

impl Image {
    /// Loads the bytes from a sealed file in memory; from a copy in the server's own folder where the system refuses that.
    pub(crate) fn new(verified: &Verified, folder: Option<&Path>) -> Result<Self, String> {
        let from_memory = match sealed(&verified.bytes) {
            Ok(file) => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                match load(Path::new(&path)) {
                    Ok(image) => {
                        // glibc knows libraries by name: were the descriptor closed, the next library would get the same
                        // number, and with it this one's code.
                        let _open_for_ever = file.into_raw_fd();
                        return Ok(image);
                    }
                    Err(reason) => reason,
                }
            }
            Err(error) => format!("there is no sealed memory for it: {error}"),
        };
        // A library that is refused for what it is would be refused from a disk as well, and says so a second time.
        let Some(folder) = folder else {
            return Err(from_memory);
        };
        let copy = copied(verified, folder).map_err(|error| {
            format!(
                "{from_memory}; and it cannot be copied to '{}': {error}",
                folder.display()
            )
        })?;
        let loaded = load(&copy);
        // Mapped by now, or of no use.
        if let Err(error) = std::fs::remove_file(&copy) {
            tracing::warn!("'{}' cannot be removed: {error}", copy.display());
        }
        loaded
    }
}

#[expect(
    unsafe_code,
    reason = "runs the constructors of a library that the operator vouched for"
)]
fn load(path: &Path) -> Result<Image, String> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: the bytes are those that the operator listed and vouched for. All symbols now: one that is missing must not show
    // in the middle of an import. None for others: two importers know nothing of each other.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    match library {
        Ok(library) => Ok(Image { library }),
        Err(error) => {
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Err(format!("the system does not load it: {why}"))
        }
    }
}

fn sealed(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag; later ones may ask for it.
    let fd = memfd_create(c"altmount-plugin", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(c"altmount-plugin", flags))?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    insist(|| fcntl_add_seals(&file, SEALS))?;
    Ok(file)
}

/// Asks again where the kernel refuses to seal because somebody else holds a page (EBUSY). That may be the kernel itself, which
/// moves pages when memory is short. It waits some 0.15 s for them before it says so, so there is no pause here.
fn insist(mut seal: impl FnMut() -> rustix::io::Result<()>) -> io::Result<()> {
    for _ in 1..SEAL_ATTEMPTS {
        match seal() {
            Err(Errno::BUSY) => {}
            result => return Ok(result?),
        }
    }
    Ok(seal()?)
}

fn copied(verified: &Verified, folder: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = folder.symlink_metadata()?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || !ours || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "it must be a folder of the server's own, of mode 0700",
        ));
    }
    // A name of its own for each load, as the linker knows libraries by name.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(
        "{}-{}-{number}.so",
        &verified.sha256[..16],
        std::process::id()
    ));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o500)
        .open(&path)?;
    let written = file.write_all(&verified.bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half of a copy is of no use, and the failed write is what is told of.
        let _gone = std::fs::remove_file(&path);
    }
    written.map(|()| path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        fs::fcntl_get_seals,
        pipe::{SpliceFlags, pipe, splice},
    };
    use std::io::Read;

    #[test]
    fn a_page_that_is_in_use_for_a_while_is_waited_for() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create(c"held", flags).expect("a file in memory"));
        file.write_all(&[7; 4096]).expect("written");
        // Spliced into a pipe, its page is held until the pipe is read.
        let (reader, writer) = pipe().expect("a pipe");
        let moved = splice(&file, Some(&mut 0), &writer, None, 4096, SpliceFlags::empty());
        assert_eq!(moved, Ok(4096));
        let mut reader = File::from(reader);
        let mut attempts = Vec::new();
        insist(|| {
            if attempts.len() == 1 {
                reader.read_exact(&mut [0; 4096]).expect("read");
            }
            attempts.push(fcntl_add_seals(&file, SEALS));
            attempts[attempts.len() - 1]
        })
        .expect("sealed once the page is let go");
        assert_eq!(attempts[0], Err(Errno::BUSY), "{attempts:?}");
        assert_eq!(fcntl_get_seals(&file), Ok(SEALS));
    }

    #[test]
    fn what_stays_is_an_error_in_the_end_and_what_no_waiting_mends_at_once() {
        for (error, asked) in [(Errno::BUSY, SEAL_ATTEMPTS), (Errno::PERM, 1)] {
            let mut attempts = 0;
            let result = insist(|| {
                attempts += 1;
                Err(error)
            });
            let told = result.expect_err("never sealed");
            assert_eq!(
                (told.raw_os_error(), attempts),
                (Some(error.raw_os_error()), asked)
            );
        }
    }
}
