//! Runs a bundle's file, and counts the bytes of its heap. Prints where in its memory the count is: the
//! init does nothing else for a test to ask it.

#![allow(clippy::unwrap_used)] // as in any test

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sidecar_init::init::{Init, Options};
use sidecar_init::source::BundleSource;

static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counted;

// SAFETY: `System` does everything.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller promises the same to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller promises the same to us.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static HEAP: Counted = Counted;

fn main() -> ExitCode {
    let [file, ready_file] = [1, 2].map(|place| std::env::args_os().nth(place).unwrap().into());
    println!("{:p}", &raw const BYTES);
    let plan = BundleSource { file, ..BundleSource::default() }.load(&mut Vec::new()).unwrap();
    let mut options = Options::default();
    options.quiet = true;
    options.ready_file = Some(ready_file);
    Init::new(plan, options).unwrap().run().into()
}
