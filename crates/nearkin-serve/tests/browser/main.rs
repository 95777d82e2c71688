//! The page in a real browser, as a person uses it. Skipped, loudly, where there is no Chromium.
//!
//! Screenshots of every view are left in the target's `tmp/gallery`, to be looked at.

mod chromium;
#[path = "../http/common.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod common;
mod page;
