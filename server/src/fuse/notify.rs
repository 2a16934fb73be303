//! Tells the kernel what changed behind its back, so that it may keep names and attributes for a minute and is never that
//! late.

use super::tree::{Tree, inode, link_inode};
use altmount_engine::{Event, ROOT, StoreError};
use altmount_model::{FileId, VPath};
use fuser::{INodeNo, Notifier};
use std::{io, sync::Arc};
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Orders that may wait for the kernel.
const WAITING: usize = 256;

/// What the kernel is to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stale {
    /// A name in a folder, with all below it.
    Name(u64, String),
    /// The attributes of an inode.
    Attributes(u64),
}

impl Stale {
    /// In the library's tree, and in that of the links.
    fn everywhere(self) -> [Self; 2] {
        let link = |inode: u64| link_inode(FileId(inode.cast_signed()));
        let other = match &self {
            Self::Name(parent, name) => Self::Name(link(*parent), name.clone()),
            Self::Attributes(inode) => Self::Attributes(link(*inode)),
        };
        [self, other]
    }
}

pub(super) fn start(
    tree: Arc<Tree>,
    notifier: Notifier,
    events: Receiver<Event>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let (orders, mut waiting) = mpsc::channel::<Stale>(WAITING);
    // The kernel takes locks for these that a request may hold until it is answered: never on a thread that answers.
    tokio::task::spawn_blocking(move || {
        while let Some(stale) = waiting.blocking_recv() {
            let told = match &stale {
                Stale::Name(parent, name) => notifier.inval_entry(INodeNo(*parent), name.as_ref()),
                // A negative offset: attributes alone. Files have no pages in the kernel.
                Stale::Attributes(inode) => notifier.inval_inode(INodeNo(*inode), -1, 0),
            };
            match told {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                Err(error) => tracing::debug!("the kernel does not forget {stale:?}: {error}"),
            }
        }
    });
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow(&tree, events, &orders) => {}
        }
    })
}

async fn follow(tree: &Tree, mut events: Receiver<Event>, orders: &mpsc::Sender<Stale>) {
    loop {
        let stale = match events.recv().await {
            Ok(Event::Library { path, from, .. }) => {
                let mut stale = Ok(Vec::new());
                for path in [Some(path), from].into_iter().flatten() {
                    stale = match (stale, outdated(tree, &path).await) {
                        (Ok(mut all), Ok(more)) => {
                            all.extend(more);
                            Ok(all)
                        }
                        (Err(error), _) | (_, Err(error)) => Err(error),
                    };
                }
                stale
            }
            Ok(_) => continue,
            Err(RecvError::Lagged(_)) => everything(tree).await,
            Err(RecvError::Closed) => return,
        };
        let stale = stale.unwrap_or_else(|error| {
            tracing::warn!("the mount's caches are out of date for a while: {error}");
            Vec::new()
        });
        for stale in stale.into_iter().flat_map(Stale::everywhere) {
            if orders.send(stale).await.is_err() {
                return;
            }
        }
    }
}

/// What a change at a path makes untrue: the name, and the attributes of the folders above. A folder on the way that is not
/// there was never known, for a name that is not found is not kept.
async fn outdated(tree: &Tree, path: &VPath) -> Result<Vec<Stale>, StoreError> {
    let mut stale = vec![Stale::Attributes(inode(ROOT))];
    let mut parent = ROOT;
    let names: Vec<&str> = path.components().collect();
    for (at, name) in names.iter().enumerate() {
        if at + 1 == names.len() {
            stale.push(Stale::Name(inode(parent), (*name).to_owned()));
            break;
        }
        let Ok(name) = VPath::new(name) else { break };
        match tree.library().child(parent, &name).await? {
            Some(entry) => parent = entry.id,
            None => {
                stale.push(Stale::Name(inode(parent), name.as_str().to_owned()));
                break;
            }
        }
        stale.push(Stale::Attributes(inode(parent)));
    }
    Ok(stale)
}

/// Every name in the root, and so all below it: for when nobody knows what changed.
async fn everything(tree: &Tree) -> Result<Vec<Stale>, StoreError> {
    const PAGE: u32 = 512;
    let mut stale = vec![Stale::Attributes(inode(ROOT))];
    let mut after = None;
    loop {
        let page = tree.library().list(ROOT, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(stale);
        };
        after = Some(last.name.clone());
        stale.extend(page.into_iter().map(|entry| Stale::Name(inode(ROOT), entry.name)));
    }
}
