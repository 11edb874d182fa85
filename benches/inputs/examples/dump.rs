//! Prints a generated session as a JSON array: `cargo run -p mainspring-inputs --example dump -- [MESSAGES] [SEED]`.

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|a| a.parse().expect("a number"));
    let messages = arguments.next().unwrap_or(200);
    let seed = arguments.next().unwrap_or(1);
    let spec = mainspring_inputs::SessionSpec::coding(seed, messages as usize);
    println!("[{}]", mainspring_inputs::generate(&spec).join(",\n"));
}
