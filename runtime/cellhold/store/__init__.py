"""Content on disk: where everything lies, who owns which ids, what each container was. Every process finds the truth here."""
