//! The server from outside: raw bytes over TCP.

mod api;
mod calibrated;
mod common;
mod hostile;
mod items;
