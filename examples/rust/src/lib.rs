//! A compiled network, safe: it owns its memory, takes and gives slices, and returns errors.

use std::ffi::{c_char, c_int, c_void, CStr};
use std::fmt;
use std::ptr;

/// The interface of `tvm_shufflenet.h`, as far as it is used here.
mod raw {
    use super::*;

    #[repr(C)]
    pub struct Image {
        pub pixels: *const c_void,
        pub bytes: usize,
        pub format: i32,
        pub width: i32,
        pub height: i32,
        pub stride: usize,
        pub rotation: i32,
        pub colours: i32,
        pub chroma: *const c_void,
        pub chroma_bytes: usize,
        pub chroma_stride: usize,
    }

    extern "C" {
        pub fn tsn_abi() -> c_int;
        pub fn tsn_supported() -> c_int;
        pub fn tsn_describe() -> *const c_char;
        pub fn tsn_workspace_bytes() -> usize;
        pub fn tsn_run(input: *const f32, output: *mut f32, workspace: *mut c_void) -> c_int;
        pub fn tsn_image_workspace_bytes(image: *const Image) -> usize;
        pub fn tsn_run_image(image: *const Image, output: *mut f32, workspace: *mut c_void) -> c_int;
        pub fn tsn_softmax(output: *const f32, shares: *mut f32) -> c_int;
        pub fn tsn_label(index: c_int) -> *const c_char;
    }
}

const ABI: c_int = 5; // of the functions above

/// Why a picture was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The library is older than this wrapper.
    Old(i32),
    /// The processor lacks instructions of the library.
    Processor,
    /// Another number of elements was expected.
    Length { expected: usize, found: usize },
    /// A picture of this size and format cannot be.
    Image,
    /// A negative status of `tvm_shufflenet.h`.
    Status(i32),
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Old(abi) => write!(to, "the library has ABI {abi}, expected {ABI} or more"),
            Error::Processor => write!(to, "this processor lacks instructions of the library"),
            Error::Length { expected, found } => write!(to, "expected {expected} elements, found {found}"),
            Error::Image => write!(to, "no picture of such a size"),
            Error::Status(status) => write!(to, "the library returned {status}"),
        }
    }
}

impl std::error::Error for Error {}

/// 64 bytes at a multiple of 64, as a workspace consists of.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A thread's view of the network: other threads make a `Network` of their own.
pub struct Network {
    workspace: Vec<Line>,
    input: usize,
    output: usize,
}

impl Network {
    pub fn new() -> Result<Self, Error> {
        let abi = unsafe { raw::tsn_abi() };
        if abi < ABI {
            return Err(Error::Old(abi));
        }
        if unsafe { raw::tsn_supported() } == 0 {
            return Err(Error::Processor);
        }
        let mut network = Network { workspace: Vec::new(), input: elements("inputs"), output: elements("outputs") };
        network.reserve(unsafe { raw::tsn_workspace_bytes() });
        Ok(network)
    }

    /// The manifest, one line of JSON.
    pub fn describe() -> &'static str {
        // The text lives as long as the program, which the library is part of.
        unsafe { CStr::from_ptr(raw::tsn_describe()) }.to_str().expect("a manifest is UTF-8")
    }

    /// The first output, of a preprocessed input.
    pub fn run(&mut self, input: &[f32]) -> Result<Vec<f32>, Error> {
        if input.len() != self.input {
            return Err(Error::Length { expected: self.input, found: input.len() });
        }
        let mut output = vec![0.0; self.output];
        checked(unsafe { raw::tsn_run(input.as_ptr(), output.as_mut_ptr(), self.workspace.as_mut_ptr().cast()) })?;
        Ok(output)
    }

    /// The first output, of RGB pixels: `width` * `height` * 3 bytes, row by row.
    pub fn run_rgb(&mut self, pixels: &[u8], width: u16, height: u16) -> Result<Vec<f32>, Error> {
        let expected = 3 * usize::from(width) * usize::from(height);
        if pixels.len() != expected {
            return Err(Error::Length { expected, found: pixels.len() });
        }
        let image = raw::Image {
            pixels: pixels.as_ptr().cast(),
            bytes: pixels.len(),
            format: 0, // TSN_RGB
            width: width.into(),
            height: height.into(),
            stride: 0,
            rotation: 0,
            colours: 0,
            chroma: ptr::null(),
            chroma_bytes: 0,
            chroma_stride: 0,
        };
        let bytes = unsafe { raw::tsn_image_workspace_bytes(&image) };
        if bytes == 0 {
            return Err(Error::Image);
        }
        self.reserve(bytes);
        let mut output = vec![0.0; self.output];
        checked(unsafe { raw::tsn_run_image(&image, output.as_mut_ptr(), self.workspace.as_mut_ptr().cast()) })?;
        Ok(output)
    }

    /// Probabilities of the classes, of an output.
    pub fn softmax(&self, output: &[f32]) -> Result<Vec<f32>, Error> {
        if output.len() != self.output {
            return Err(Error::Length { expected: self.output, found: output.len() });
        }
        let mut shares = vec![0.0; output.len()];
        checked(unsafe { raw::tsn_softmax(output.as_ptr(), shares.as_mut_ptr()) })?;
        Ok(shares)
    }

    /// The name of a class, where the network has names.
    pub fn label(index: usize) -> Option<&'static str> {
        let name = unsafe { raw::tsn_label(index.try_into().ok()?) };
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_str().expect("names are UTF-8"))
    }

    fn reserve(&mut self, bytes: usize) {
        let lines = bytes.div_ceil(size_of::<Line>());
        if lines > self.workspace.len() {
            self.workspace = vec![Line([0; 64]); lines];
        }
    }
}

fn checked(status: c_int) -> Result<(), Error> {
    if status < 0 {
        Err(Error::Status(status))
    } else {
        Ok(())
    }
}

/// The number of elements of the first array in a list of the manifest.
fn elements(list: &str) -> usize {
    let manifest = Network::describe();
    let shape = manifest
        .split_once(&format!("\"{list}\":"))
        .and_then(|(_, rest)| rest.split_once("\"shape\":["))
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(shape, _)| shape)
        .expect("a manifest has shapes");
    shape.split(',').map(|extent| extent.parse::<usize>().expect("a shape has numbers")).product()
}
