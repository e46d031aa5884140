//! Links the static library `network.a` in the folder NETWORK_DIR, which
//! `python -m tvm_shufflenet.build MODEL --target TARGET --emit static --name network` makes.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=NETWORK_DIR");
    let folder = std::env::var("NETWORK_DIR").unwrap_or_else(|_| "../../build".into());
    let archive = PathBuf::from(&folder).join("network.a");
    assert!(archive.is_file(), "{} is missing: build it, or set NETWORK_DIR", archive.display());
    println!("cargo:rerun-if-changed={}", archive.display());
    println!("cargo:rustc-link-search=native={folder}");
    println!("cargo:rustc-link-lib=static:+verbatim=network.a");
}
