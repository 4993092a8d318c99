//! Runs a bundle's file to its end, and prints how many bytes its heap had at the most, without what
//! reading the file took.

#![allow(clippy::unwrap_used)] // as in any test

use std::process::ExitCode;

use peak_alloc::PeakAlloc;
use sidecar_init::init::{Init, Options};
use sidecar_init::source::BundleSource;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn main() -> ExitCode {
    let [file, ready_file] = [1, 2].map(|place| std::env::args_os().nth(place).unwrap().into());
    let plan = BundleSource { file, ..BundleSource::default() }.load(&mut Vec::new()).unwrap();
    HEAP.reset_peak_usage();
    let mut options = Options::default();
    options.quiet = true;
    options.ready_file = Some(ready_file);
    let code = Init::new(plan, options).unwrap().run();
    println!("{}", HEAP.peak_usage());
    code.into()
}
