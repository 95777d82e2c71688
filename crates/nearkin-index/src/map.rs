//! The only unsafe code of the crate: mapping an index into memory.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a whole file, read only.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a map is sound as long as nobody changes the file under it. nearkin never does: an index is written
    // under another name and renamed, so an open one keeps its own, unchanging file. A foreign program could still
    // write into it. For that case the map is read only as `f32` and `u32`, for which every bit pattern is valid, and
    // every number read from it is checked before it is used as a position, so what follows is a wrong result or an
    // error. Text is copied out of the file before it is checked and is never read through the map. A foreign program
    // that shortens the file ends this process with a bus error, as it does for any program that maps files.
    unsafe { Mmap::map(file) }
}
