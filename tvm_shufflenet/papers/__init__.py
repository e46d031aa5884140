"""The papers' tables, claims and experiments beside what is computed, measured or estimated here."""
