//! The server from outside: raw bytes over TCP.

mod api;
mod common;
mod hostile;
