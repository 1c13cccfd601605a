//! Writes the seeds of a target into a folder: `cargo run -p api-fuzz --example seeds TARGET FOLDER`.

fn main() -> std::io::Result<()> {
    testbed::fuzz::write_seeds(api_fuzz::seeds::of)
}
