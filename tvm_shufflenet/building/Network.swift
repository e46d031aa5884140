import ${name}
#if canImport(CoreVideo)
import CoreVideo
#endif

/// $what, compiled by tvm_shufflenet.
///
///     let network = Network()
///     for guess in try network.classify(pixelBuffer) { print(guess) }
///
/// An object runs one call at a time, several objects run side by side.  What the library refuses is a
/// `Network.Refusal`.
public final class Network {
  /// Why there is no result: a status of tvm_shufflenet.h, and the same in words.
  public struct Refusal: Error, CustomStringConvertible {
    public let status: Int32
    public let description: String
  }

  /// A class of the network, and how probable it is, from 0 to 1; no label where the network has no names.
  public struct Guess: CustomStringConvertible {
    public let index: Int
    public let label: String?
    public let probability: Float

    /// For people: "parachute 97 %".
    public var description: String {
      "\(label ?? "class \(index)") \(Int((100 * probability).rounded())) %"
    }
  }

  /// Formats of pictures, the numbers of tvm_shufflenet.h.
  public enum PixelFormat: Int32 {
    case rgb = 0, bgr = 1, rgba = 2, bgra = 3, nv12 = 4, nv21 = 5, grey = 6
  }

  /// Such as [1, 3, 224, 224]; `describe` tells layout and preprocessing.
  public static let inputShape: [Int] = $input
  public static let outputShapes: [[Int]] = $outputs

  /// The network as a line of JSON: tsn_describe() in tvm_shufflenet.h.
  public static var describe: String { String(cString: ${name}_describe()) }

  private let workspace = Network.room(${name}_workspace_bytes())
  private var imageWorkspace = Network.room(0)
  private var imageBytes = 0

  public init() {}

  deinit {
    workspace.deallocate()
    imageWorkspace.deallocate()
  }

  /// The name of a class; nil where the network has no names, or no such class.
  public static func label(_ index: Int) -> String? {
    guard let name = ${name}_label(Int32(clamping: index)) else { return nil }
    return String(cString: name)
  }

  /// The first output of an input that is preprocessed, both dense.
  public func run(_ input: [Float]) throws -> [Float] {
    try runOutputs(input)[0]
  }

  /// Every output, in the order of `outputShapes`.
  public func runOutputs(_ input: [Float]) throws -> [[Float]] {
    try Network.expect(input, Network.inputShape, "input")
    try Network.check(${name}_check_input(input))
    let counts = Network.outputShapes.map(Network.elements)
    let memory = UnsafeMutablePointer<Float>.allocate(capacity: counts.reduce(0, +))
    defer { memory.deallocate() }
    var places: [UnsafeMutablePointer<Float>?] = []
    var next = memory
    for count in counts {
      places.append(next)
      next += count
    }
    try Network.check(${name}_run_outputs(input, places, workspace))
    return zip(places, counts).map { place, count in Array(UnsafeBufferPointer(start: place, count: count)) }
  }

  /// The first output of a picture, which the library turns, scales and normalises.
  ///
  /// - Parameters:
  ///   - pixels: rows from the upper left pixel on; of nv12 and nv21 chroma lies behind the rows of luma
  ///   - bytesPerRow: from a row to the next; 0: rows lie one behind the other
  ///   - rotation: degrees clockwise that bring the picture upright: 0, 90, 180 or 270
  public func run(
    pixels: UnsafeRawBufferPointer, format: PixelFormat = .bgra, width: Int, height: Int, bytesPerRow: Int = 0,
    rotation: Int = 0
  ) throws -> [Float] {
    guard bytesPerRow >= 0 else { throw Network.refusal(TSN_ERROR_IMAGE) }
    var image = tsn_image()
    image.pixels = pixels.baseAddress
    image.bytes = pixels.count
    image.format = format.rawValue
    image.width = Int32(clamping: width)
    image.height = Int32(clamping: height)
    image.stride = bytesPerRow
    image.rotation = Int32(clamping: rotation)
    let needed = ${name}_image_workspace_bytes(&image)
    if needed > imageBytes {
      imageWorkspace.deallocate()
      imageWorkspace = Network.room(needed)
      imageBytes = needed
    }
    var output = [Float](repeating: 0, count: Network.elements(Network.outputShapes[0]))
    try Network.check(${name}_run_image(&image, &output, imageWorkspace))
    return output
  }

  /// The likeliest classes of a picture, the likeliest first; parameters as of `run`.
  public func classify(
    pixels: UnsafeRawBufferPointer, format: PixelFormat = .bgra, width: Int, height: Int, bytesPerRow: Int = 0,
    rotation: Int = 0, count: Int = 3
  ) throws -> [Guess] {
    let output = try run(
      pixels: pixels, format: format, width: width, height: height, bytesPerRow: bytesPerRow, rotation: rotation)
    return try Network.topK(output, count: count)
  }

  /// The likeliest classes of a first output, the likeliest first; of several pictures a call, the row of one.
  public static func topK(_ output: [Float], count: Int = 3) throws -> [Guess] {
    var row = outputShapes[0]
    row[0] /= inputShape[0]
    try expect(output, row, "output")
    var shares = output
    try check(${name}_softmax(output, &shares))
    let most = max(0, min(count, output.count))
    var classes = [Int32](repeating: 0, count: max(most, 1))
    let found = ${name}_top_k(output, Int32(most), &classes)
    try check(min(found, 0))
    return classes.prefix(Int(found)).map { index in
      Guess(index: Int(index), label: label(Int(index)), probability: shares[Int(index)])
    }
  }

  private static func room(_ bytes: Int) -> UnsafeMutableRawPointer {
    .allocate(byteCount: max(bytes, 1), alignment: Int(TSN_ALIGNMENT))
  }

  private static func elements(_ shape: [Int]) -> Int {
    shape.reduce(1, *)
  }

  private static func expect(_ array: [Float], _ shape: [Int], _ what: String) throws {
    guard array.count == elements(shape) else {
      let why = "\(what): \(array.count) numbers, expected \(elements(shape)) of \(shape)"
      throw Refusal(status: TSN_ERROR_INPUT, description: why)
    }
  }

  private static func check(_ status: Int32) throws {
    guard status == TSN_OK else { throw refusal(status) }
  }

  private static func refusal(_ status: Int32) -> Refusal {
    let why: String
    switch status {
    case TSN_ERROR_INPUT: why = "the input holds NaN or infinity, expected finite numbers"
    case TSN_ERROR_NULL, TSN_ERROR_IMAGE: why = "no such picture: format, size, rotation or bytes contradict"
    case TSN_ERROR_PICTURES: why = "the network takes no pictures of three colours, or a call several"
    case TSN_ERROR_CLASSES: why = "the network gives no number for each class"
    case TSN_ERROR_CPU: why = "this processor lacks instructions of the library, see describe"
    default: why = "status \(status), see tvm_shufflenet.h"
    }
    return Refusal(status: status, description: why)
  }
}

#if canImport(CoreVideo)
extension Network {
  /// The likeliest classes of a picture of a camera or a video, of kCVPixelFormatType_32BGRA.
  public func classify(_ buffer: CVPixelBuffer, rotation: Int = 0, count: Int = 3) throws -> [Guess] {
    guard CVPixelBufferGetPixelFormatType(buffer) == kCVPixelFormatType_32BGRA else {
      throw Refusal(status: TSN_ERROR_IMAGE, description: "a CVPixelBuffer of another format, expected 32BGRA")
    }
    guard CVPixelBufferLockBaseAddress(buffer, .readOnly) == kCVReturnSuccess else {
      throw Refusal(status: TSN_ERROR_IMAGE, description: "the CVPixelBuffer cannot be locked")
    }
    defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
    let height = CVPixelBufferGetHeight(buffer)
    let bytesPerRow = CVPixelBufferGetBytesPerRow(buffer)
    let pixels = UnsafeRawBufferPointer(start: CVPixelBufferGetBaseAddress(buffer), count: bytesPerRow * height)
    return try classify(
      pixels: pixels, width: CVPixelBufferGetWidth(buffer), height: height, bytesPerRow: bytesPerRow,
      rotation: rotation, count: count)
  }
}
#endif
