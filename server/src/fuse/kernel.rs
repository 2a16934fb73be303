//! Requests of the kernel, each answered from a task of its own.

use super::{
    handles::{Handles, Listing, Open, Reads},
    tree::{Fault, Found, IDS, IDS_INODE, Tree, inode, link_inode},
};
use crate::{
    config::MountSettings,
    files::{Client, Reading, Stream, Streams},
};
use altmount_engine::{Entry, OpenFile, ROOT};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request, TimeOrNow,
};
use std::{
    ffi::OsStr,
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::sync::CancellationToken;

/// Reads that are worked on at once; further ones wait, within their time.
const READS_AT_ONCE: usize = 256;
/// The same of all other requests, which never wait behind a read: those need the news servers, these the database alone.
const OTHERS_AT_ONCE: usize = 256;
/// Beyond a read's own time limit, so that it is the one that says why.
const GRACE: Duration = Duration::from_secs(5);
/// Background requests that the kernel may have out: reads of memory maps.
const BACKGROUND: u16 = 64;
const BLOCK: u32 = 4096;
/// What `df` shows, in blocks: a pebibyte, free. Whoever looks for room before a move must not be refused.
const BLOCKS: u64 = (1 << 50) / BLOCK as u64;
/// Positions of a listing before its entries: `.`, `..` and, in the root, [`IDS`].
const BEFORE: u64 = 3;

impl From<Fault> for Errno {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotFound => Self::ENOENT,
            Fault::NotDirectory => Self::ENOTDIR,
            Fault::IsDirectory => Self::EISDIR,
            Fault::Exists => Self::EEXIST,
            Fault::NotEmpty => Self::ENOTEMPTY,
            Fault::Denied => Self::EACCES,
            Fault::Busy => Self::EBUSY,
            Fault::Invalid => Self::EINVAL,
            Fault::TooLong => Self::ENAMETOOLONG,
            Fault::Io => Self::EIO,
        }
    }
}

/// Who owns what is shown, and for how long the kernel may keep it.
#[derive(Clone, Copy, Debug)]
struct Look {
    uid: u32,
    gid: u32,
    keep: Duration,
}

impl Look {
    fn attributes(&self, found: &Found) -> FileAttr {
        match found {
            Found::Entry(entry) => self.entry(entry),
            Found::Ids => self.shown(IDS_INODE, true, 0, UNIX_EPOCH, UNIX_EPOCH),
            Found::Link(entry) => self.link(entry),
        }
    }

    fn entry(&self, entry: &Entry) -> FileAttr {
        let time = |ms: i64| UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let (modified, created) = (time(entry.mtime_ms), time(entry.created_ms));
        self.shown(inode(entry.id), entry.is_dir, entry.size, modified, created)
    }

    /// An entry as the tree of links has it.
    fn link(&self, entry: &Entry) -> FileAttr {
        let shown = FileAttr {
            ino: INodeNo(link_inode(entry.id)),
            ..self.entry(entry)
        };
        if entry.is_dir {
            return shown;
        }
        FileAttr {
            kind: FileType::Symlink,
            perm: 0o777,
            // A length of 0 is taken for one that is not known.
            size: 0,
            blocks: 0,
            ..shown
        }
    }

    fn shown(&self, inode: u64, dir: bool, size: u64, modified: SystemTime, created: SystemTime) -> FileAttr {
        FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: modified,
            mtime: modified,
            ctime: modified.max(created),
            crtime: created,
            kind: if dir {
                FileType::Directory
            } else {
                FileType::RegularFile
            },
            perm: if dir { 0o775 } else { 0o444 },
            nlink: if dir { 2 } else { 1 },
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            // What tools read at once.
            blksize: 1 << 20,
            flags: 0,
        }
    }
}

/// The kernel's side of the mount.
#[derive(Debug)]
pub(super) struct Kernel {
    tree: Arc<Tree>,
    handles: Arc<Handles>,
    streams: Streams,
    look: Look,
    runtime: Handle,
    stop: CancellationToken,
    reads: Arc<Semaphore>,
    others: Arc<Semaphore>,
    limit: Duration,
}

/// Puts a process that has opened a file into the list of those who read; it is shown there once it does.
async fn reading(streams: &Streams, file: &Arc<OpenFile>, process: u32) -> Reading {
    // A process of another container has no name here.
    let named = tokio::fs::read_to_string(format!("/proc/{process}/comm")).await;
    let agent = match named {
        Ok(name) => format!("{} (process {process})", name.trim()),
        Err(_) => format!("process {process}"),
    };
    let stream = Stream {
        id: 0,
        file: file.entry.id.0,
        name: file.entry.name.clone(),
        size: file.entry.size,
        client: Client {
            via: "mount",
            address: None,
            agent: Some(agent),
        },
        range: None,
        since_ms: altmount_store::now_ms(),
        sent: 0,
        rate: 0,
        buffered: 0,
    };
    streams.begin(stream, Arc::downgrade(&file.reader), true)
}

/// No inode number is ever given twice.
const GENERATION: Generation = Generation(0);

impl Kernel {
    /// To be called in the runtime that answers.
    pub(super) fn new(
        tree: Arc<Tree>,
        streams: Streams,
        settings: &MountSettings,
        stop: CancellationToken,
    ) -> Self {
        Self {
            tree,
            handles: Arc::default(),
            streams,
            look: Look {
                uid: settings.uid.unwrap_or_else(|| rustix::process::getuid().as_raw()),
                gid: settings.gid.unwrap_or_else(|| rustix::process::getgid().as_raw()),
                keep: settings.cache,
            },
            runtime: Handle::current(),
            stop,
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            others: Arc::new(Semaphore::new(OTHERS_AT_ONCE)),
            limit: settings.read_timeout + GRACE,
        }
    }

    /// What is open.
    pub(super) fn handles(&self) -> Arc<Handles> {
        Arc::clone(&self.handles)
    }

    fn answer<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        self.answer_among(&self.others, work, reply);
    }

    /// Answers with what `work` comes to: in time, whatever it does, for nobody can kill a process that waits for this.
    fn answer_among<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let (stop, places, limit) = (self.stop.clone(), Arc::clone(places), self.limit);
        self.runtime.spawn(async move {
            let placed = async {
                let _place = places.acquire_owned().await.map_err(|_| Fault::Io)?;
                work.await
            };
            let result = tokio::select! {
                biased;
                () = stop.cancelled() => Err(Errno::EIO),
                done = tokio::time::timeout(limit, placed) => match done {
                    Ok(done) => done.map_err(Errno::from),
                    Err(_) => Err(Errno::ETIMEDOUT),
                },
            };
            reply(result);
        });
    }

    fn answer_entry(
        &self,
        work: impl Future<Output = Result<Found, Fault>> + Send + 'static,
        reply: ReplyEntry,
    ) {
        let look = self.look;
        self.answer(work, move |found| match found {
            Ok(found) => reply.entry(&look.keep, &look.attributes(&found), GENERATION),
            Err(error) => reply.error(error),
        });
    }

    fn answer_empty(
        &self,
        work: impl Future<Output = Result<(), Fault>> + Send + 'static,
        reply: ReplyEmpty,
    ) {
        self.answer(work, move |done| match done {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        });
    }

    /// Some entries of an open folder from a position on, each with the position behind it.
    fn listing(
        &self,
        dir: u64,
        handle: FileHandle,
        offset: u64,
    ) -> impl Future<Output = Result<Lines, Fault>> + Send + 'static {
        let tree = Arc::clone(&self.tree);
        let open = self.handles.dir(handle.0);
        async move {
            let listing = open.ok_or(Fault::Invalid)?;
            let mut before = Vec::new();
            if offset == 0 {
                before.push((1, Listed::Dot(".", dir)));
            }
            if offset <= 1 {
                let parent = match tree.get(dir).await? {
                    Found::Entry(entry) => inode(entry.parent.unwrap_or(ROOT)),
                    Found::Link(entry) => entry.parent.map_or(inode(ROOT), link_inode),
                    Found::Ids => inode(ROOT),
                };
                before.push((2, Listed::Dot("..", parent)));
            }
            if offset < BEFORE && dir == inode(ROOT) {
                before.push((BEFORE, Listed::Ids));
            }
            let position = offset.saturating_sub(BEFORE);
            let mut listing = listing.lock().await;
            let (page, skip) = listing.at(&tree, position).await?;
            Ok(Lines {
                before,
                page,
                skip,
                next: position + BEFORE + 1,
                links: tree.is_of_links(dir),
            })
        }
    }
}

/// Some lines of a listing.
struct Lines {
    before: Vec<(u64, Listed<'static>)>,
    page: Arc<Vec<Entry>>,
    /// The first of the page that is listed.
    skip: usize,
    /// The position behind it.
    next: u64,
    /// Whether they are of the tree of links.
    links: bool,
}

impl Lines {
    /// Each line with the position behind it.
    fn iter(&self) -> impl Iterator<Item = (u64, Listed<'_>)> {
        let entries = self.page.get(self.skip..).unwrap_or_default();
        let before = self.before.iter().map(|(next, line)| (*next, *line));
        let line = if self.links { Listed::Link } else { Listed::Entry };
        before.chain((self.next..).zip(entries.iter().map(line)))
    }
}

/// One line of a listing.
#[derive(Clone, Copy)]
enum Listed<'a> {
    Dot(&'static str, u64),
    Ids,
    Entry(&'a Entry),
    Link(&'a Entry),
}

impl Filesystem for Kernel {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
        ] {
            // An older kernel does without.
            if let Err(missing) = config.add_capabilities(wanted) {
                tracing::debug!("the kernel does not offer {missing:?}");
            }
        }
        if let Err(nearest) = config.set_max_background(BACKGROUND) {
            tracing::debug!("the kernel takes {nearest} background requests");
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (tree, name) = (Arc::clone(&self.tree), name.to_owned());
        self.answer_entry(async move { tree.look_up(parent.0, &name).await }, reply);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let (tree, look) = (Arc::clone(&self.tree), self.look);
        let open = fh.and_then(|fh| self.handles.file(fh.0));
        let work = async move {
            // An open file is what it was when it was opened, and stays there when its name goes.
            match open {
                Some(open) => Ok(Found::Entry(open.file.entry.clone())),
                None => tree.get(ino.0).await,
            }
        };
        self.answer(work, move |found| match found {
            Ok(found) => reply.attr(&look.keep, &look.attributes(&found)),
            Err(error) => reply.error(error),
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let tree = Arc::clone(&self.tree);
        self.answer(
            async move { tree.target(ino.0).await },
            move |target| match target {
                Ok(target) => reply.data(target.as_os_str().as_encoded_bytes()),
                Err(error) => reply.error(error),
            },
        );
    }

    fn setattr(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn create(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let (tree, name) = (Arc::clone(&self.tree), name.to_owned());
        self.answer_entry(async move { tree.make_dir(parent.0, &name).await }, reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (tree, name) = (Arc::clone(&self.tree), name.to_owned());
        self.answer_empty(async move { tree.unlink(parent.0, &name).await }, reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (tree, name) = (Arc::clone(&self.tree), name.to_owned());
        self.answer_empty(async move { tree.remove_dir(parent.0, &name).await }, reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let keep = flags.contains(RenameFlags::RENAME_NOREPLACE);
        let (tree, from, to) = (Arc::clone(&self.tree), name.to_owned(), newname.to_owned());
        let work = async move { tree.rename((parent.0, &from), (newparent.0, &to), keep).await };
        self.answer_empty(work, reply);
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        let (tree, handles) = (Arc::clone(&self.tree), Arc::clone(&self.handles));
        let (streams, process) = (self.streams.clone(), req.pid());
        let work = async move {
            let file = tree.open(ino.0).await?;
            let reading = reading(&streams, &file, process).await;
            Ok(Arc::new(Reads { file, reading }))
        };
        self.answer(work, move |file| {
            match file.map(|file| handles.insert(Open::File(file))) {
                Ok(Some(handle)) => reply.opened(
                    FileHandle(handle),
                    FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH,
                ),
                Ok(None) => reply.error(Errno::ENFILE),
                Err(error) => reply.error(error),
            }
        });
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.handles.file(fh.0) else {
            return reply.error(Errno::EBADF);
        };
        let tree = Arc::clone(&self.tree);
        let asked = Instant::now();
        self.answer_among(
            &self.reads,
            async move {
                let data = tree.read(&file.file, offset, size).await?;
                file.reading.add(data.len() as u64);
                file.reading.waited(asked.elapsed());
                Ok(data)
            },
            move |data| match data {
                Ok(data) => reply.data(&data),
                Err(error) => reply.error(error),
            },
        );
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        // The reader's tasks are the runtime's, and end in it.
        let _runtime = self.runtime.enter();
        self.handles.remove(fh.0);
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let listing = Arc::new(tokio::sync::Mutex::new(Listing::new(ino.0)));
        match self.handles.insert(Open::Dir(listing)) {
            Some(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            None => reply.error(Errno::ENFILE),
        }
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.answer(self.listing(ino.0, fh, offset), move |listed| {
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) => return reply.error(error),
            };
            for (next, line) in listed.iter() {
                let full = match line {
                    Listed::Dot(name, inode) => reply.add(INodeNo(inode), next, FileType::Directory, name),
                    Listed::Ids => reply.add(INodeNo(IDS_INODE), next, FileType::Directory, IDS),
                    Listed::Entry(entry) | Listed::Link(entry) => {
                        let (number, file) = match line {
                            Listed::Link(_) => (link_inode(entry.id), FileType::Symlink),
                            _ => (inode(entry.id), FileType::RegularFile),
                        };
                        let kind = if entry.is_dir { FileType::Directory } else { file };
                        reply.add(INodeNo(number), next, kind, &entry.name)
                    }
                };
                if full {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let look = self.look;
        self.answer(self.listing(ino.0, fh, offset), move |listed| {
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) => return reply.error(error),
            };
            for (next, line) in listed.iter() {
                let (name, attributes) = match line {
                    // The kernel keeps neither of these two from a listing.
                    Listed::Dot(name, inode) => (name, look.shown(inode, true, 0, UNIX_EPOCH, UNIX_EPOCH)),
                    Listed::Ids => (IDS, look.attributes(&Found::Ids)),
                    Listed::Entry(entry) => (entry.name.as_str(), look.entry(entry)),
                    Listed::Link(entry) => (entry.name.as_str(), look.link(entry)),
                };
                if reply.add(attributes.ino, next, name, &look.keep, &attributes, GENERATION) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.handles.remove(fh.0);
        reply.ok();
    }

    // What fuser would write a warning for. The kernel does not ask again after this answer.
    fn getxattr(&self, _req: &Request, _ino: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _req: &Request, _ino: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, 0, 0, BLOCK, 255, BLOCK);
    }
}
