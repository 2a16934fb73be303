//! How strictly a loaded importer is held to its contract.

/// What the conformance suite asks for beyond what the server does: everything here is allowed to any host, and shows importers that
/// rely on more than the contract says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Bytes that are lent for a call, or until an operation is freed, are overwritten after it.
    pub spoil: bool,
    /// Each poll of a task is on another thread.
    pub moved: bool,
    /// The host is of a later minor version: a longer table, unknown fields in its messages, and a status for failures that this version
    /// does not know.
    pub later: bool,
}

/// What is in lent bytes when they are not lent any more: no UTF-8, and no JSON.
pub(crate) const SPOILT: u8 = 0xf5;

impl Terms {
    /// Lends a copy of `bytes` for the time of `call`, and spoils it where that is wanted.
    pub(crate) fn lend<R>(self, bytes: &[u8], call: impl FnOnce(&[u8]) -> R) -> R {
        if !self.spoil {
            return call(bytes);
        }
        let mut copy = bytes.to_vec();
        let answer = call(&copy);
        copy.fill(SPOILT);
        // Kept from being optimised away: what is freed next is what nobody may read, which is the point.
        std::hint::black_box(&copy);
        answer
    }

    /// A JSON object as a later version may write it.
    pub(crate) fn written(self, mut json: Vec<u8>) -> Vec<u8> {
        if self.later && json.starts_with(b"{\"") && json.ends_with(b"}") {
            json.truncate(json.len() - 1);
            json.extend_from_slice(br#","of_a_later_version":{"a":[1,null,"x"]}}"#);
        }
        json
    }
}
