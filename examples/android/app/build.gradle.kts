plugins {
  id("com.android.application") version "8.7.3"
  id("org.jetbrains.kotlin.android") version "2.2.0"
}

android {
  namespace = "com.example.dogs.app" // the archive has com.example.dogs
  compileSdk = 35
  defaultConfig {
    applicationId = "com.example.dogs.app"
    minSdk = 21
    targetSdk = 35
  }
  compileOptions {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
  }
}

kotlin { jvmToolchain(17) }

dependencies { implementation(files("libs/dogs.aar")) }
