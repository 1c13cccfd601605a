//! Writes the seeds of a target into a folder: `cargo run -p store-fuzz --example seeds TARGET FOLDER`.

fn main() -> std::io::Result<()> {
    testbed::fuzz::write_seeds(store_fuzz::seeds::of)
}
