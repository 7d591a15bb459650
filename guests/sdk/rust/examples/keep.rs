//! A program (a WASI command) that calls the sidecar: it saves what is on its standard input under the name of its
//! event, and says what it has done on its standard output. A program has no outcomes; exit code 75 asks for a retry.

use std::io::Read;
use std::process::ExitCode;

use guesthouse_dapr::{state, Event, Result};

fn main() -> ExitCode {
    match keep() {
        Ok(size) => {
            print!("{size} bytes are kept");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(75)
        }
    }
}

fn keep() -> Result<usize> {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    let size = body.len();
    state("statestore").save((Event::of_this_guest().name(), body)).send()?;
    Ok(size)
}
