//! How long freed memory stays at hand.

use libmimalloc_sys::{mi_option_set, mi_option_t};

// Training allocates and frees large tensors all the time; the system's allocator hands them back to the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's header, which its Rust names leave out: milliseconds, or -1 for ever.
const PURGE_DELAY: mi_option_t = 15;

/// Keeps all freed memory until the process ends. By default it goes back to the system after a second: a training step takes about as long,
/// so each would have its pages handed out and cleared anew, which cost a fifth of its time and more.
pub fn keep_freed_memory() {
    #[expect(unsafe_code, reason = "the allocator's options have no safe interface")]
    // SAFETY: the option exists, and setting it stores a number that the allocator reads when it frees, on any thread at any time.
    unsafe {
        mi_option_set(PURGE_DELAY, -1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "the allocator's options have no safe interface")]
    fn the_option_is_the_one_whose_default_is_a_second() {
        // SAFETY: the option exists, and reading it loads a number.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1000);
        keep_freed_memory();
        assert_eq!(delay(), -1);
    }
}
