//! Tells the linker to lay the functions that a start and waiting run side by side, for the daemon to need less
//! memory: the system brings code in by stretches of 64 KiB. `packaging/layout/record` says which they are.
#![allow(clippy::print_stdout, reason = "it is how cargo is told")]

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const FUNCTIONS: &str = "packaging/layout/functions.txt";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={FUNCTIONS}");
    if !is_understood()? {
        return Ok(());
    }
    let mut sections = String::new();
    for function in fs::read_to_string(FUNCTIONS)?.lines() {
        writeln!(sections, ".text.{function} .text.unlikely.{function}")?;
    }
    let script = Path::new(&env::var("OUT_DIR")?).join("layout.ld");
    fs::write(
        &script,
        format!("SECTIONS {{ .text.run : {{ *(\n{sections}) }} }} INSERT BEFORE .text;\n"),
    )?;
    println!("cargo::rustc-link-arg-bins=-T{}", script.display());
    Ok(())
}

/// Whether this is a release for which the linker is the one that comes with the compiler, and names are those of the
/// list. Anything else is linked as ever, and comes to the same program.
fn is_understood() -> Result<bool, Box<dyn Error>> {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|it| it == value);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if !is("TARGET", "x86_64-unknown-linux-gnu")
        || !is("PROFILE", "release")
        || env::var_os("RUSTC_LINKER").is_some()
        || flags.contains("link")
        || !flags.contains("symbol-mangling-version=v0")
    {
        return Ok(false);
    }
    let rustc = |arg: &str, value: &str| -> Result<String, Box<dyn Error>> {
        let out = Command::new(env::var("RUSTC")?).args([arg, value]).output()?;
        Ok(String::from_utf8(out.stdout)?)
    };
    let version = rustc("--version", "--verbose")?;
    let release =
        version.lines().find_map(|line| line.strip_prefix("release: 1.")).unwrap_or_default();
    let minor: u32 =
        release.split('.').next().and_then(|minor| minor.parse().ok()).unwrap_or_default();
    let sysroot = rustc("--print", "sysroot")?;
    let linker = "lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld";
    // Before 1.90 it was there, but not used.
    Ok(minor >= 90 && Path::new(sysroot.trim()).join(linker).exists())
}
