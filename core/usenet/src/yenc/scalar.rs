//! The reference: one byte at a time, nothing clever. Every other kernel must equal it.
//!
//! It works on the body of a multi-line NNTP answer as it is on the wire. Two layers meet here. For NNTP, a line ends
//! with CR LF, a first `.` of a line is stuffing, and a line that is `.` alone ends the answer (RFC 3977 section
//! 3.1.1). For yEnc, CR and LF are never data, `=` escapes the next byte, and `=y` at the start of a line begins a
//! control line (yEnc 1.3).
//!
//! A bare LF ends a line for yEnc but not for NNTP. Were it otherwise, an article with `LF . CR LF` in it, which a
//! server sends as it is, could end its own answer and have its next bytes taken for the server's: the connection would
//! be out of step, in whatever way the poster wants. Only a server that ends its own status lines with a bare LF is
//! taken at its word ([`Lines::BareLf`]).

/// How the server ends its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// With CR LF, as RFC 3977 says.
    CrLf,
    /// With LF alone. What a server does is seen from its status line.
    BareLf,
}

/// Where in a line the decoder is; what came before is in it, so that input may be cut anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At the start of a line.
    Start,
    /// After a bare LF: the start of a line for yEnc, not for NNTP.
    BareStart,
    /// After a `.` at the start of a line.
    StartDot,
    /// After `.` CR at the start of a line.
    StartDotCr,
    /// After `=` at the start of a line.
    StartEq,
    /// Inside a line.
    Mid,
    /// After CR.
    Cr,
    /// After `=` inside a line.
    Esc,
}

/// Why a kernel returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All input was taken.
    Input,
    /// The output has no room for what comes next.
    Full,
    /// `=y` at the start of a line was taken: a control line begins.
    Control,
    /// The terminator was taken: the answer is over.
    End,
}

/// What one byte does.
enum Step {
    /// Emit this byte.
    Emit(u8),
    /// Nothing to emit.
    Skip,
    /// Stop after it.
    Stop(Stop),
}

impl State {
    /// Takes one byte.
    #[inline(always)]
    fn step(&mut self, lines: Lines, b: u8) -> Step {
        let after_lf = match lines {
            Lines::CrLf => Self::BareStart,
            Lines::BareLf => Self::Start,
        };
        let (next, step) = match (*self, b) {
            (Self::StartDotCr, b'\n') => (Self::Start, Step::Stop(Stop::End)),
            (Self::StartDot, b'\n') if lines == Lines::BareLf => (Self::Start, Step::Stop(Stop::End)),
            (Self::Cr, b'\n') => (Self::Start, Step::Skip),
            (_, b'\n') => (after_lf, Step::Skip),
            (Self::StartDot, b'\r') => (Self::StartDotCr, Step::Skip),
            (_, b'\r') => (Self::Cr, Step::Skip),
            (Self::Start, b'.') => (Self::StartDot, Step::Skip),
            (Self::StartEq, b'y') => (Self::Start, Step::Stop(Stop::Control)),
            (Self::StartEq | Self::Esc, _) => (Self::Mid, Step::Emit(b.wrapping_sub(42 + 64))),
            (Self::Start | Self::BareStart | Self::StartDot, b'=') => (Self::StartEq, Step::Skip),
            (_, b'=') => (Self::Esc, Step::Skip),
            (_, _) => (Self::Mid, Step::Emit(b.wrapping_sub(42))),
        };
        *self = next;
        step
    }

    /// Whether the two bytes before tell all of the state, so that a wide kernel may go on from here.
    pub(super) fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Start | Self::BareStart | Self::Mid | Self::Cr | Self::Esc
        )
    }
}

/// Decodes `src` to the end of `out`, whose capacity is not grown. Returns how many bytes of `src` were taken and why
/// it stopped.
pub(super) fn decode(state: &mut State, lines: Lines, src: &[u8], out: &mut Vec<u8>) -> (usize, Stop) {
    for (i, &b) in src.iter().enumerate() {
        let before = *state;
        match state.step(lines, b) {
            Step::Emit(_) if out.len() == out.capacity() => {
                *state = before;
                return (i, Stop::Full);
            }
            Step::Emit(d) => out.push(d),
            Step::Skip => {}
            Step::Stop(stop) => return (i + 1, stop),
        }
    }
    (src.len(), Stop::Input)
}
