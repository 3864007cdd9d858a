# A repository that the cluster's nodes may pull from.

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

module "artifacts" {
  source = "../.."

  project_id = "my-project-id"
  location   = "europe-west1"
  readers    = ["serviceAccount:nodes@my-project-id.iam.gserviceaccount.com"]
}

output "image_prefix" {
  description = "What an image's name begins with."
  value       = module.artifacts.image_prefix
}
