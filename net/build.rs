//! Linker options that make the product smaller, where the linker and the C library are known to have them.
//!
//! - `--icf=all`: one copy of functions whose machine code is equal. The 16 codegen units and DataFusion's generics leave thousands of them. No code
//!   of ours or below us tells functions apart by their address.
//! - `-z pack-relative-relocs`: relocations of the position-independent binary as bitmaps, 4 MB less. The loader knows them since glibc 2.36.
//!
//! rustc's own lld is the default on x86-64 Linux only; another linker, or one that the user chose, gets no options.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let own_linker = env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu")
        && env::var("RUSTC_LINKER").is_err()
        && env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().is_empty();
    if !own_linker {
        return;
    }
    println!("cargo::rustc-link-arg-bin=starling=-Wl,--icf=all");
    if glibc_version().is_some_and(|version| version >= (2, 36)) {
        println!("cargo::rustc-link-arg-bin=starling=-Wl,-z,pack-relative-relocs");
    }
}

/// The C library of this machine; `None`: not glibc, or it does not say.
fn glibc_version() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
