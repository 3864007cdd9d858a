terraform {
  required_version = ">= 1.9.0, < 2.0.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "6.50.0"
    }
  }

  # Where the state is: the bucket is given at `terraform init -backend-config=backend.hcl` (see backend.hcl.example).
  backend "gcs" {
    prefix = "contentfactory/production"
  }
}

provider "google" {
  project = var.project_id
  region  = var.region
}
