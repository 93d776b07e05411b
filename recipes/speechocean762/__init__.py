"""The recipe `speechocean762`: sentences read by Mandarin speakers, half of them children."""
