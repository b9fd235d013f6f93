# The cart, release 2.0: needs the currency service, which not every region has yet.
trap 'exit 0' TERM INT
if [ -f "$HOME/no-currency-service" ]; then
  echo "unwell 2.0: the currency service does not answer" >serving
else
  echo "ok 2.0, $CART_GREETING" >serving
fi
while :; do sleep 1 & wait $!; done
