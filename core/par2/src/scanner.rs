use crate::{
    Sets,
    packet::{HEADER, Header, MAGIC, MAX_PACKET},
};
use memchr::memmem;

/// What is wanted of a PAR2 file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Names, lengths and hashes of the files: the scan ends at the first packet that describes nothing after all files of
    /// the set are described (their Unicode names stand among the descriptions).
    Names,
    /// The checksums of slices as well: the scan goes to the end of the file.
    All,
}

/// What a [`Scanner`] needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Exactly these bytes of the file, for [`Scanner::feed`].
    Read {
        /// First byte.
        offset: u64,
        /// Length in bytes; never more than about a megabyte.
        len: u64,
    },
    /// Nothing.
    Done,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A header should be here.
    Header,
    /// The packet with this header is wanted.
    Body(Header),
    /// The next magic is searched for.
    Search,
    Done,
}

/// Finds the packets of a file, which is read by someone else: ask [`Scanner::step`], read, [`Scanner::feed`].
#[derive(Debug)]
pub struct Scanner {
    len: u64,
    at: u64,
    want: Want,
    state: State,
    found: Sets,
    searched: u64,
    hashed_in_vain: u64,
    kept: u64,
    headers: u64,
}

/// Bytes of a step of the search for the next magic, and of all of them: a PAR2 file has packets without gaps, so
/// more is looked at only in damaged ones and in what is none.
const SEARCH: u64 = 64 << 10;
const MAX_SEARCH: u64 = 1 << 20;
/// Most bytes of packets that turn out to be damaged.
const MAX_HASHED_IN_VAIN: u64 = 32 << 20;
/// Most bytes of descriptions that are kept, and most headers that are looked at.
const MAX_KEPT: u64 = 64 << 20;
const MAX_HEADERS: u64 = 1 << 17;

impl Scanner {
    /// Scans a file of `len` bytes.
    pub fn new(len: u64, want: Want) -> Self {
        Self {
            len,
            at: 0,
            want,
            state: State::Header,
            found: Sets::default(),
            searched: 0,
            hashed_in_vain: 0,
            kept: 0,
            headers: 0,
        }
    }

    /// What to read next.
    pub fn step(&self) -> Step {
        let left = self.len.saturating_sub(self.at);
        let wanted = match self.state {
            State::Done => 0,
            State::Header => HEADER as u64,
            State::Body(header) => header.len,
            State::Search => SEARCH,
        };
        if wanted == 0 || left < HEADER as u64 {
            return Step::Done;
        }
        Step::Read {
            offset: self.at,
            len: wanted.min(left),
        }
    }

    /// Takes the bytes that [`Scanner::step`] asked for. Fewer bytes end the scan: the file is shorter than was said.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Step::Read { len, .. } = self.step() else {
            return;
        };
        if (bytes.len() as u64) < len {
            self.state = State::Done;
            return;
        }
        let bytes = &bytes[..len as usize];
        match self.state {
            State::Header => self.header(bytes),
            State::Body(header) => self.body(header, bytes),
            State::Search => self.search(bytes),
            State::Done => {}
        }
    }

    /// What was found up to now.
    pub fn found(&self) -> &Sets {
        &self.found
    }

    /// What was found.
    pub fn into_found(self) -> Sets {
        self.found
    }

    fn header(&mut self, bytes: &[u8]) {
        self.headers += 1;
        if self.headers > MAX_HEADERS {
            self.found.limited = true;
            self.state = State::Done;
            return;
        }
        let Some(header) = Header::parse(bytes) else {
            if bytes.starts_with(MAGIC) {
                self.found.damaged += 1;
                self.at += 8;
            }
            self.state = State::Search;
            return;
        };
        if !header.is_description() || (self.want == Want::Names && header.is_slices()) {
            if self.want == Want::Names && !header.is_slices() && self.found.is_complete() {
                self.state = State::Done;
                return;
            }
            // Recovery data: skipped by offset. A wrong length lands where no magic is, and the search goes on there.
            match self.at.checked_add(header.len) {
                Some(next) if next <= self.len => self.at = next,
                _ => {
                    self.at += 8;
                    self.state = State::Search;
                }
            }
            return;
        }
        if header.len > MAX_PACKET || header.len > self.len - self.at {
            self.found.damaged += 1;
            self.at += 8;
            self.state = State::Search;
            return;
        }
        if self.kept + header.len > MAX_KEPT {
            self.found.limited = true;
            self.state = State::Done;
            return;
        }
        self.state = State::Body(header);
    }

    fn body(&mut self, header: Header, bytes: &[u8]) {
        let Some(packet) = header.packet(bytes) else {
            self.found.damaged += 1;
            self.hashed_in_vain += header.len;
            if self.hashed_in_vain > MAX_HASHED_IN_VAIN {
                self.found.limited = true;
                self.state = State::Done;
                return;
            }
            // Its length may be what is wrong.
            self.at += 8;
            self.state = State::Search;
            return;
        };
        self.kept += header.len;
        self.found.sets.entry(header.set).or_default().add(packet);
        self.at += header.len;
        self.state = State::Header;
    }

    fn search(&mut self, bytes: &[u8]) {
        if let Some(i) = memmem::find(bytes, MAGIC) {
            self.searched += i as u64;
            self.at += i as u64;
            self.state = State::Header;
            return;
        }
        // The magic may lie over the border.
        let passed = (bytes.len() - (MAGIC.len() - 1)) as u64;
        self.searched += passed;
        self.at += passed;
        if self.searched > MAX_SEARCH {
            self.found.limited = true;
            self.state = State::Done;
        }
    }
}

/// Scans a file of `len` bytes; `read` gives exactly the bytes (offset, length) that it is asked for, or fewer at the end.
///
/// # Errors
/// What `read` fails with.
pub async fn scan<B, F, E>(len: u64, want: Want, mut read: impl FnMut(u64, u64) -> F) -> Result<Sets, E>
where
    F: Future<Output = Result<B, E>>,
    B: AsRef<[u8]>,
{
    let mut scanner = Scanner::new(len, want);
    while let Step::Read { offset, len } = scanner.step() {
        let bytes = read(offset, len).await?;
        scanner.feed(bytes.as_ref());
    }
    Ok(scanner.into_found())
}

/// Scans the bytes of a file, or the first of them: packets that are cut off at the end are left out.
pub fn scan_bytes(bytes: &[u8], want: Want) -> Sets {
    let mut scanner = Scanner::new(bytes.len() as u64, want);
    while let Step::Read { offset, len } = scanner.step() {
        scanner.feed(&bytes[offset as usize..(offset + len) as usize]);
    }
    scanner.into_found()
}
