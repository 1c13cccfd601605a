//! Writes the seeds of a target into a folder: `cargo run -p api-fuzz --example seeds TARGET FOLDER`.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let (Some(target), Some(folder)) = (arguments.next(), arguments.next().map(PathBuf::from))
    else {
        return Err(io::Error::other("which target, and which folder?"));
    };
    fs::create_dir_all(&folder)?;
    for (number, bytes) in api_fuzz::seeds::of(&target.to_string_lossy()).iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:02}")), bytes)?;
    }
    Ok(())
}
