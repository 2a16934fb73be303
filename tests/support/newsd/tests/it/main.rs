//! The double, seen from the other end of a socket.

mod client;
mod faults;
mod protocol;
