//! Prints the five likeliest classes of a picture, a binary PPM file (P6):
//!
//!     python -m tvm_shufflenet.build shufflenet-v1-0.5x-g3 --target native --weights trained \
//!         --emit static --name network
//!     cargo run --release --offline --manifest-path examples/rust/Cargo.toml picture.ppm

use network::Network;
use std::error::Error;

/// Width, height and RGB pixels.
fn read(path: &str) -> Result<(u16, u16, Vec<u8>), Box<dyn Error>> {
    let file = std::fs::read(path)?;
    let mut at = 0;
    let mut words = Vec::new();
    while words.len() < 4 {
        let length = file[at..].iter().position(u8::is_ascii_whitespace).ok_or("the file ends early")?;
        words.push(std::str::from_utf8(&file[at..at + length])?);
        at += length + 1;
    }
    if words[0] != "P6" || words[3] != "255" {
        return Err("expected a PPM file of 8 bits (P6)".into());
    }
    Ok((words[1].parse()?, words[2].parse()?, file[at..].to_vec()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: classify PICTURE.ppm")?;
    let (width, height, pixels) = read(&path)?;
    let mut network = Network::new()?;
    let output = network.run_rgb(&pixels, width, height)?;
    let shares = network.softmax(&output)?;
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
    for &index in order.iter().take(5) {
        let name = Network::label(index).map_or(format!("class {index}"), str::to_string);
        println!("{:.4} {name}", shares[index]);
    }
    Ok(())
}
