//! Says with which optimisation the package is compiled, which code cannot see for itself.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo::rustc-env=BRASA_OPT_LEVEL={level}");
}
