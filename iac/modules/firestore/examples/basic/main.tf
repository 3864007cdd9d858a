# The smallest use: a protected database with its indexes, backups and past versions.

terraform {
  required_version = ">= 1.9.0, < 2.0.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.50.0, < 8.0.0"
    }
  }
}

provider "google" {
  project = "my-project-id"
}

module "firestore" {
  source = "../.."

  project_id = "my-project-id"
  location   = "europe-west1"
}

output "store_url" {
  description = "What STORE_URL is set to in every service."
  value       = module.firestore.store_url
}
