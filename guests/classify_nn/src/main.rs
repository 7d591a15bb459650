//! Names what a picture shows: a JPEG or PNG on standard input, the five likeliest ImageNet classes on standard output
//! as JSON. An ordinary program that decodes the picture itself and asks for inference by wasi-nn, with its published
//! crate; the model is the host's, by name. Exit code 65: not a picture, or one that is too large for the guest's memory.
//! 70: the host did not run the model.

use std::error::Error;
use std::io::{self, Read};
use std::process::ExitCode;

use image::imageops::FilterType;
use image::DynamicImage;
use serde_json::json;
use wasi_nn::{ExecutionTarget, GraphBuilder, GraphEncoding, TensorType};

#[path = "../../sdk/photo.rs"]
mod photo;
use photo::DATA_ERROR;

const LABELS: &str = include_str!("../../classify/imagenet-labels.json");
const SIDE: u32 = 224;
const TOP: usize = 5;
/// EX_SOFTWARE of sysexits.h.
const SOFTWARE_ERROR: u8 = 70;

fn main() -> ExitCode {
    let pixels = match pixels() {
        Ok(pixels) => pixels,
        Err(error) => return fail(DATA_ERROR, "the body is not a JPEG or PNG picture", &*error),
    };
    match classify(&pixels) {
        Ok(classes) => {
            print!("{classes}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(SOFTWARE_ERROR, "the host did not run the model", &*error),
    }
}

/// Standard input as SIDE x SIDE pixels of red, green and blue.
fn pixels() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut body = Vec::new();
    io::stdin().read_to_end(&mut body)?;
    let picture = DynamicImage::from_decoder(photo::open(&body, 0)?)?;
    let small = picture.resize_exact(SIDE, SIDE, FilterType::Triangle);
    Ok(small.into_rgb8().into_raw())
}

fn classify(pixels: &[u8]) -> Result<String, Box<dyn Error>> {
    let labels: Vec<&str> = serde_json::from_str(LABELS)?;
    let graph = GraphBuilder::new(GraphEncoding::Onnx, ExecutionTarget::CPU).build_from_cache("classifier")?;
    let mut context = graph.init_execution_context()?;
    context.set_input(0, TensorType::U8, &[1, SIDE as usize, SIDE as usize, 3], pixels)?;
    context.compute()?;
    let mut probabilities = vec![0f32; labels.len()];
    context.get_output(0, &mut probabilities)?;
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let top = order[..TOP].iter().map(|&index| {
        let probability = (f64::from(probabilities[index]) * 1e4).round() / 1e4;
        json!({ "label": labels[index], "index": index, "probability": probability })
    });
    Ok(serde_json::Value::from_iter(top).to_string())
}

fn fail(code: u8, message: &str, error: &dyn Error) -> ExitCode {
    eprintln!("{message}: {error}");
    ExitCode::from(code)
}
