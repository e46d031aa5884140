"""ShuffleNet on Arm: networks described once, compiled to one library each with Apache TVM."""
