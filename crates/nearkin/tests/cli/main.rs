//! The command line from outside, as a user types it.

mod bad_input;
mod common;
#[cfg(feature = "wgpu")]
mod devices;
mod exporting;
mod growing;
mod protocols;
mod reproduce;
#[cfg(unix)]
mod resume;
mod signals;
mod tables;
mod unlabelled;
mod whole_way;
