//! The library as a folder of this machine: a FUSE mount.
//!
//! What a request means is decided in [`tree`], over the engine alone, and tested there without a kernel. [`kernel`] turns
//! requests of the kernel into calls of it and answers each from a task of its own, so that a read which waits for the
//! network holds up no other. [`notify`] tells the kernel what changed behind its back, [`point`] takes over a mount point
//! that a process left dead and lets go of ours.
//!
//! - **Inode numbers are the library's ids**, which are never given twice; the root is 1 in both. So they are the same
//!   after a restart, after a rename, and for a file's two names (its path, and `.ids/ID`).
//! - **`.links`** is the library once more with a link to `.ids` in the place of each file, for those that move what they take
//!   over. Its folders and links have numbers of their own. It is found by its name and not listed: a scanner would go through
//!   everything twice.
//! - **Files bypass the page cache** (`direct_io`). The kernel keeps pages by inode number, and a re-import changes a file's
//!   bytes under the same number: an old handle and a new one would share pages. Reads of up to 1 MiB come straight
//!   from the article cache instead, which is faster than the kernel's own read-ahead of 128 KiB.
//! - **No process is left waiting.** Each request has a time limit, for a process in a FUSE read cannot be killed before the
//!   answer; at the end all that is under way fails at once, the mount is detached, and the connection is aborted.

mod handles;
mod kernel;
mod notify;
mod point;
pub mod tree;

use crate::{config::MountSettings, files::Streams};
use altmount_engine::Engine;
use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use handles::Handles;
use kernel::Kernel;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tree::Tree;

/// `EINVAL`: what is to be unmounted is no mount point (umount(2)).
const NOT_MOUNTED: i32 = 22;
/// How long the session's thread may take to see that its connection is gone.
const JOIN: Duration = Duration::from_secs(5);

/// What the mount is called in the table of mounts.
const NAME: &str = "altmount";

/// The library, mounted. It is to be ended with [`Mount::stop`] or [`Mount::leave`].
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    session: BackgroundSession,
    handles: Arc<Handles>,
    stop: CancellationToken,
    notifying: JoinHandle<()>,
}

/// A mount that nobody comes into any more. What was open in it is read on until it is closed, or until [`Left::end`].
#[derive(Debug)]
pub struct Left {
    path: PathBuf,
    handles: Arc<Handles>,
    /// Where its connection is aborted.
    abort: Option<PathBuf>,
    stop: CancellationToken,
}

impl Left {
    /// Where it was.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many files of it are open.
    pub fn open_files(&self) -> usize {
        self.handles.files()
    }

    /// Whether the kernel has let go of it.
    pub fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Fails what is under way, and what is read later.
    pub async fn end(self) {
        self.stop.cancel();
        // A thread that waits for the kernel keeps nobody: it ends with the connection, or with the process.
        let aborted = tokio::task::spawn_blocking(move || point::abort(self.abort.as_deref())).await;
        if let Err(error) = aborted {
            tracing::warn!("a mount's connection cannot be aborted: {error}");
        }
    }
}

impl Mount {
    /// Mounts the library of `engine` at `path`; who reads there is one of the `streams`. Makes the folder where it is not there, and takes over a mount whose process died.
    ///
    /// # Errors
    /// Where the folder cannot be used, or the kernel does not let us mount, and what to do about it.
    pub async fn start(
        engine: &Arc<Engine>,
        path: PathBuf,
        settings: &MountSettings,
        streams: Streams,
    ) -> Result<Self> {
        let to_prepare = path.clone();
        tokio::time::timeout(
            point::PATIENCE,
            tokio::task::spawn_blocking(move || point::prepare(&to_prepare)),
        )
        .await
        .with_context(|| {
            let path = path.display();
            format!("the mount point {path} does not answer; unmount what is there with 'umount -l {path}'")
        })???;

        let stop = CancellationToken::new();
        let tree = Arc::new(Tree::new(engine.library().clone(), settings).at(path.clone()));
        // Before the first request, so that nothing that the kernel is told can be out of date unnoticed.
        let events = engine.events();
        let kernel = Kernel::new(Arc::clone(&tree), streams, settings, stop.clone());
        let handles = kernel.handles();
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName(NAME.to_owned()),
            MountOption::Subtype(NAME.to_owned()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
            MountOption::NoExec,
            MountOption::NoSuid,
            MountOption::NoDev,
        ];
        config.acl = match settings.allow_other {
            true => SessionACL::All,
            false => SessionACL::Owner,
        };
        let mount_point = path.clone();
        let session =
            tokio::task::spawn_blocking(move || fuser::spawn_mount(kernel, mount_point, &config)).await?;
        let session = session.with_context(|| {
            format!(
                "cannot mount the library at {}: /dev/fuse must be there and usable, and for a user other than root \
                 fusermount3 installed, and 'user_allow_other' in /etc/fuse.conf for 'mount.allow_other'",
                path.display()
            )
        })?;
        let notifying = notify::start(tree, session.notifier(), events, stop.clone());
        tracing::info!(mount.path = %path.display(), "the library is mounted");
        Ok(Self {
            path,
            session,
            handles,
            stop,
            notifying,
        })
    }

    /// Whether it is there: somebody else may have unmounted it.
    pub fn is_there(&self) -> bool {
        !self.session.guard.is_finished()
    }

    /// Takes the library away from its place at once, and leaves to its readers what they have open.
    ///
    /// # Errors
    /// Where it cannot be unmounted; it is as it was then.
    pub async fn leave(self) -> Result<Left, (Box<Self>, anyhow::Error)> {
        let path = self.path.clone();
        let abort = match tokio::task::spawn_blocking(move || point::detach_ours(&path)).await {
            Ok(Ok(abort)) => abort,
            Ok(Err(error)) => return Err((Box::new(self), error)),
            Err(error) => return Err((Box::new(self), error.into())),
        };
        let Self {
            path,
            mut session,
            handles,
            stop,
            notifying,
        } = self;
        let left = Left {
            path,
            handles,
            abort,
            stop: stop.clone(),
        };
        let shown = left.path.display().to_string();
        // Not one of the runtime's threads: its end would wait for this one.
        let waiting = thread::Builder::new().name("mount".to_owned()).spawn(move || {
            let serving = std::mem::replace(&mut session.guard, thread::spawn(|| Ok(())));
            // Dropped, it would unmount what lies at the path by then, which may be the next mount: fuser takes a connection that
            // is gone for one that is mounted. What is kept is a file descriptor.
            std::mem::forget(session);
            match serving.join() {
                Ok(Ok(())) => tracing::info!(mount.path = shown, "the library is not mounted there any more"),
                Ok(Err(error)) => {
                    tracing::warn!(mount.path = shown, "the mount ended with an error: {error}")
                }
                Err(_) => tracing::error!(mount.path = shown, "the mount's thread panicked"),
            }
            stop.cancel();
            notifying.abort();
        });
        if let Err(error) = waiting {
            tracing::warn!(mount.path = %left.path.display(), "nobody waits for the mount's end: {error}");
        }
        Ok(left)
    }

    /// Fails what is under way, and unmounts: at once, even where files are open.
    pub async fn stop(self) {
        let Self {
            path,
            session,
            handles: _,
            stop,
            notifying,
        } = self;
        stop.cancel();
        let shown = path.display().to_string();
        let ended = tokio::task::spawn_blocking(move || {
            point::release(&path);
            session.umount_and_join()
        });
        match tokio::time::timeout(JOIN, ended).await {
            Ok(Ok(Ok(()))) => {}
            // `release` has unmounted it already, and files that are open keep the connection until this process ends.
            Ok(Ok(Err(error))) if error.raw_os_error() == Some(NOT_MOUNTED) => {
                tracing::debug!(mount.path = shown, "the mount is detached");
            }
            Ok(Ok(Err(error))) => {
                tracing::warn!(mount.path = shown, "the mount ended with an error: {error}")
            }
            Ok(Err(error)) => tracing::warn!(mount.path = shown, "the mount's end failed: {error}"),
            Err(_) => tracing::warn!(
                mount.path = shown,
                "the mount is detached, and its connection ends with this process"
            ),
        }
        notifying.abort();
    }
}
