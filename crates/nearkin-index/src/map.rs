//! The only unsafe code of the crate: mapping an index into memory.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a whole file, read only.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a map is sound as long as nobody changes the file under it. nearkin never does: an index is written
    // under another name and renamed, so an open one keeps its own, unchanging file. A foreign program could still
    // write into it. For that case the map is read only as numbers, for which every bit pattern is valid, so what
    // follows is a wrong result. Texts and graph are copied out before they are checked and are never used where they
    // are mapped. A foreign program that shortens the file ends this process with a bus error, as it does for any
    // program that maps files.
    unsafe { Mmap::map(file) }
}
